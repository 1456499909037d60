// Charts by plotly.js, which is loaded when the first one is drawn. They follow the theme; names of features and
// entities never go into them, since plotly takes a few tags in texts for markup.

import { h } from "./dom.js";
import { colour, themes } from "./theme.js";

let loadingPlotly = null;
const drawn = new Map();

function plotly() {
  loadingPlotly ??= new Promise((resolve, reject) => {
    const script = h("script", { src: document.querySelector("meta[name=tsad-plotly]").content });
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => { loadingPlotly = null; reject(new Error("plotly.js could not be loaded")); });
    document.head.append(script);
  });
  return loadingPlotly;
}

/** A place for a chart: a figure with a caption of its own. `label` says in words what is drawn. */
export function figure(caption, label, height) {
  const plot = h("div", { class: "plot", role: "img", "aria-label": label });
  plot.style.height = `${height}px`;
  return { plot, element: h("figure", {}, caption ? h("figcaption", {}, caption) : null, plot) };
}

/** Draw into `plot` what `make` gives: {traces, layout}; again at each change of theme, as long as it is shown. */
export async function draw(plot, make) {
  const Plotly = await plotly();
  if (!plot.isConnected) return;
  drawn.set(plot, make);
  render(Plotly, plot, make);
}

function render(Plotly, plot, make) {
  const { traces, layout } = make();
  const config = { displayModeBar: false, responsive: true, doubleClick: "reset", scrollZoom: false };
  Plotly.react(plot, traces, { ...base(), ...layout }, config);
}

themes.addEventListener("theme", async () => {
  if (!loadingPlotly) return;
  const Plotly = await plotly();
  for (const [plot, make] of drawn) {
    if (plot.isConnected) render(Plotly, plot, make);
    else drawn.delete(plot);
  }
});

function base() {
  const axis = { gridcolor: colour("rule"), linecolor: colour("rule"), tickfont: { color: colour("soft"), size: 11 }, zeroline: false, automargin: true };
  return {
    margin: { l: 46, r: 10, t: 6, b: 28 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: colour("ink") }, showlegend: false, hovermode: "x unified", dragmode: "zoom",
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("rule"), font: { color: colour("ink") } },
    xaxis: { ...axis, type: "date", hoverformat: "%Y-%m-%d %H:%M" }, yaxis: { ...axis, fixedrange: true, nticks: 5 },
  };
}

const axes = (changes) => {
  const { xaxis, yaxis } = base();
  return { xaxis: { ...xaxis, ...changes.xaxis }, yaxis: { ...yaxis, ...changes.yaxis } };
};

/** From half a point before the first to half a point behind the last: the same for all charts of these points. */
function around(x) {
  const ends = [Date.parse(x[0]), Date.parse(x[x.length - 1])];
  const half = x.length > 1 ? (ends[1] - ends[0]) / (x.length - 1) / 2 : 30000;
  return [new Date(ends[0] - half).toISOString(), new Date(ends[1] + half).toISOString()];
}

/** A shaded stretch of time. */
export const stretch = (from, to, fill) => ({ type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, fillcolor: fill, line: { width: 0 }, layer: "below" });

/** Alerts by stretches of time, a bar each, stacked by severity. */
export function alertBars(counts) {
  const highest = Math.max(...counts.buckets.map((bucket) => Object.values(bucket.counts).reduce((a, b) => a + b, 0)));
  return () => ({
    traces: ["info", "warning", "critical"].map((severity) => ({
      type: "bar", name: severity, x: counts.buckets.map((bucket) => bucket.start), y: counts.buckets.map((bucket) => bucket.counts[severity] || 0),
      width: counts.bucket_seconds * 900, offset: counts.bucket_seconds * 50, marker: { color: colour(severity) }, hovertemplate: "%{y} %{fullData.name}<extra></extra>",
    })),
    layout: {
      barmode: "stack", bargap: 0.1, ...axes({ xaxis: { range: [counts.since, counts.until] }, yaxis: { rangemode: "tozero", tickformat: "d", nticks: 4, ...(highest < 5 ? { dtick: 1 } : {}) } }),
    },
  });
}

/** A channel: what was observed, in the band that was expected (two numbers), with the anomalous stretch shaded. */
export function channel({ x, observed, lower, upper, from, to, least, most }) {
  return () => {
    const known = lower !== null && upper !== null;
    const ends = [x[0], x[x.length - 1]];
    const band = known ? [
      { x: ends, y: [lower, lower], mode: "lines", line: { width: 0 }, hoverinfo: "skip" },
      { x: ends, y: [upper, upper], mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: colour("band"), hoverinfo: "skip" },
    ] : [];
    const range = least ? [
      { x, y: least, mode: "lines", line: { width: 0 }, hoverinfo: "skip", connectgaps: false },
      { x, y: most, mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: colour("spread"), hoverinfo: "skip", connectgaps: false },
    ] : [];
    const line = { x, y: observed, mode: x.length > 200 ? "lines" : "lines+markers", line: { color: colour("ink"), width: 1.4 }, marker: { size: 3, color: colour("ink") }, hovertemplate: "%{y:.4~g}<extra></extra>" };
    return {
      traces: [...band, ...range, line],
      layout: { ...axes({ xaxis: { range: around(x) }, yaxis: { exponentformat: "SI" } }), shapes: (from ? [[from, to]] : []).map(([a, b]) => stretch(a, b, colour("mark"))) },
    };
  };
}

/** The score over time, with the threshold at 1, and alerts as shaded stretches. */
export function scores({ x, score, alerts }) {
  return () => ({
    traces: [{ x, y: score, mode: "lines", line: { color: colour("accent"), width: 1.5 }, fill: "tozeroy", fillcolor: colour("band"), hovertemplate: "score %{y:.2f}<extra></extra>" }],
    layout: {
      ...axes({ xaxis: { range: around(x) }, yaxis: { rangemode: "tozero" } }),
      shapes: [
        ...alerts.map((alert) => stretch(alert.first_time, alert.end, colour("mark"))),
        { type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: colour("critical"), width: 1, dash: "dot" } },
      ],
    },
  });
}

/** Keep the charts of one time axis at the same stretch, whichever is zoomed. */
export function together(plots) {
  let busy = false;
  for (const plot of plots) {
    plot.on?.("plotly_relayout", (change) => {
      if (busy) return;
      const range = change["xaxis.range"] || (change["xaxis.range[0]"] ? [change["xaxis.range[0]"], change["xaxis.range[1]"]] : null);
      if (!range && !change["xaxis.autorange"]) return;
      busy = true;
      const others = plots.filter((other) => other !== plot && other.isConnected);
      Promise.all(others.map((other) => window.Plotly.relayout(other, range ? { "xaxis.range": range } : { "xaxis.autorange": true })))
        .finally(() => { busy = false; });
    });
  }
}
