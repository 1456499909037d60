// One alert: what happened, why it is thought strange, and what it is like.

import { answers, decision } from "../answers.js";
import { together } from "../charts.js";
import { client } from "../client.js";
import { fill, h } from "../dom.js";
import { number, percent, signed, span, time } from "../format.js";
import { live } from "../live.js";
import { empty, facts, loading, section, severity, state, table } from "../parts.js";
import { pictures } from "../pictures.js";
import { link } from "../route.js";

export const title = "Alert";
const SHOWN = 4;
const RARE = new Set(["log.new", "log.rare", "log.severity.error", "log.severity.fatal"]); // lines in these stand out by themselves

export async function show({ main, path, signal, me }) {
  const alert = await client.get(`/alerts/${encodeURIComponent(path[1])}`, {}, signal);
  const curves = h("div", {}, loading("channels"));
  const past = h("div", {}, loading("similar alerts"));
  fill(main, heading(alert),
    h("div", { class: "columns wide-left" },
      h("div", {}, section("Channels", curves), logs(alert)),
      h("div", {}, section("Why", why(alert)), answers(`/alerts/${alert.id}`, decision, me, signal), section("Detectors", votes(alert)), section("Facts", details(alert)))),
    section("Similar earlier alerts", past));
  const changed = ({ detail }) => { if (detail.id === alert.id) refresh({ main, path, signal, me }); };
  live.addEventListener("alert", changed, { signal });
  await Promise.all([channels(curves, alert, signal), similar(past, alert, signal)]);
}

/** It has changed meanwhile: offer it, and move nothing under a reader's eyes. */
function refresh(place) {
  if (place.main.querySelector(".changed")) return;
  const again = h("button", { type: "button", onclick: () => show(place) }, "Show it as it is now");
  place.main.prepend(h("p", { class: "changed", role: "status" }, "This alert has changed. ", again));
}

function heading(alert) {
  const event = alert.explained_by_event;
  const back = { stream: alert.stream, entity: alert.entity };
  const around = [new Date(Date.parse(alert.first_time) - 6 * 3600e3), new Date(Date.parse(alert.last_time) + 6 * 3600e3)].map((at) => at.toISOString());
  return h("div", { class: `alert-head ${alert.severity}` },
    h("p", { class: "crumbs" }, h("a", { href: link(["alerts"]) }, "Alerts"), " / ", h("a", { href: link(["alerts"], { stream: alert.stream }) }, alert.stream)),
    h("h1", {}, alert.entity),
    h("p", { class: "row-top" }, severity(alert.severity), state(alert.state), `${time(alert.first_time)} to ${time(alert.last_time)} UTC`),
    h("p", { class: "sentence" }, alert.sentence || "Its explanation is still being made."),
    event ? h("p", { class: "event" }, h("strong", {}, "Explained by an event: "), `${event.title || event.id} (${event.kind}), ${time(event.time)} UTC`) : null,
    alert.merged_into ? h("p", { class: "event" }, "It goes on as ", h("a", { href: link(["alerts", alert.merged_into]) }, alert.merged_into.slice(0, 12)), ".") : null,
    alert.incident ? h("p", {}, "Part of ", h("a", { href: link(["incidents", alert.incident.id]) }, `INC-${alert.incident.number}`), `: ${alert.incident.title}`) : null,
    h("p", { class: "links" }, h("a", { href: link(["entity"], { ...back, since: around[0], until: around[1] }) }, "The entity around it"),
      h("a", { href: link(["alerts"], back) }, "All alerts of the entity")));
}

function details(alert) {
  const waited = (Date.parse(alert.detected_at) - Date.parse(alert.first_time)) / 1000;
  return facts([
    ["Score", `${number(alert.score)} (above 1 is anomalous)`], ["Tail probability", number(alert.p)], ["Confidence", percent(alert.confidence)],
    ["Peak", `${time(alert.peak_time)} UTC`], ["Detected", `${time(alert.detected_at)} UTC`], ["After", waited > 0 && waited < 86400 ? span(waited) : null],
    ["Last change", alert.reason || null], ["Amended", alert.amended_at ? `${time(alert.amended_at)} UTC` : null],
    ["Explained by", alert.explained_by], ["Model", alert.model_version], ["Id", h("code", {}, alert.id)],
  ]);
}

async function channels(place, alert, signal) {
  let series;
  try {
    series = await client.get(`/alerts/${alert.id}/series`, {}, signal);
  } catch (error) {
    if (error.status !== 409) throw error;
    fill(place, empty("There are no curves.", "The alert waits to be explained, or is of a session."));
    return;
  }
  const list = h("div", { class: "charts" });
  const legend = h("p", { class: "hint legend" }, h("span", {}, h("i", { class: "band", "aria-hidden": "true" }), "expected"), h("span", {}, h("i", { class: "mark-swatch", "aria-hidden": "true" }), "anomalous"), " Drag to zoom, double-click to see all.");
  const more = h("button", { type: "button", onclick: () => { more.remove(); add(series.channels.slice(SHOWN)); } }, `Show ${series.channels.length - SHOWN} more channels`);
  fill(place, legend, list, series.channels.length > SHOWN ? more : null);
  const plots = [];
  const picture = pictures(alert, series, alert.texts);
  async function add(some) {
    plots.push(...await picture(list, some));
    plots.forEach((plot) => plot.removeAllListeners?.("plotly_relayout"));
    together(plots);
  }
  await add(series.channels.slice(0, SHOWN));
}

/** The parts of the decision at one slot, or of a forecast: they add up to the score. */
function why(alert) {
  const groups = new Map();
  for (const part of alert.explanations) {
    const key = `${part.target} ${part.time}`;
    groups.set(key, [...(groups.get(key) || []), part]);
  }
  if (!groups.size) return empty("There is no explanation yet.");
  const decisions = [...groups.values()].filter((parts) => parts[0].target === "decision");
  const ordered = [...decisions.filter((parts) => parts[0].time === alert.peak_time), ...decisions.filter((parts) => parts[0].time !== alert.peak_time).reverse(),
    ...[...groups.values()].filter((parts) => parts[0].target !== "decision")];
  const [first, ...others] = ordered;
  return [bars(first, alert), others.length ? h("details", {}, h("summary", {}, `${others.length} more`), others.map((parts) => bars(parts, alert))) : null];
}

function bars(parts, alert) {
  const sorted = [...parts].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 12);
  const most = Math.max(...sorted.map((part) => Math.abs(part.value)), 1e-9);
  const zero = sorted.some((part) => part.value < 0) ? 50 : 0; // where nothing pushes away, the bars have all the room
  const room = 100 - zero;
  const { target, base, score, residual, fidelity, explained_by: by } = parts[0];
  const row = (part) => {
    const bar = h("span", { class: `bar ${part.value < 0 ? "down" : "up"}`, "aria-hidden": "true" });
    const width = (Math.abs(part.value) / most) * room;
    bar.style.width = `${width}%`;
    bar.style.left = `${part.value < 0 ? zero - width : zero}%`;
    const text = alert.texts[part.feature];
    return h("tr", {}, h("th", { scope: "row", title: text || null }, part.feature, text ? h("q", {}, text) : ""),
      h("td", { class: "bar-cell" }, h("span", { class: zero ? "bar-room" : "bar-room from-left" }, bar)), h("td", { class: "value" }, signed(part.value)));
  };
  return h("div", { class: "shap" },
    h("p", { class: "hint" }, `${target === "decision" ? "The decision" : "The forecast"} at ${time(parts[0].time)} UTC, by ${by}${fidelity === null ? "" : `, fidelity ${number(fidelity, 2)}`}`),
    h("table", { class: "shap-table" }, h("caption", { class: "unseen" }, "What pushed towards anomalous (+) and away from it (−)"),
      h("thead", { class: "unseen" }, h("tr", {}, h("th", { scope: "col" }, "Feature"), h("th", { scope: "col" }, "Bar"), h("th", { scope: "col" }, "Value"))),
      h("tbody", {}, sorted.map(row))),
    h("p", { class: "hint" }, `Base ${number(base)} + ${parts.length === sorted.length ? "these" : "all features"} + rest ${signed(residual || 0)} = ${number(score)}`));
}

function votes(alert) {
  const names = Object.keys(alert.votes).sort((a, b) => (alert.votes[b].voted - alert.votes[a].voted) || a.localeCompare(b));
  const voted = names.filter((name) => alert.votes[name].voted).length;
  return [h("p", { class: "hint" }, `${voted} of ${names.length} voted at the peak.`),
    table("Votes of the detectors", ["Detector", "Vote", "Tail probability"], names.map((name) => {
      const vote = alert.votes[name];
      return h("tr", { class: vote.voted ? "voted" : "" }, h("th", { scope: "row" }, name), h("td", {}, vote.voted ? "✓ strange" : vote.p === null ? "no opinion" : "usual"), h("td", {}, number(vote.p)));
    }))];
}

/** Lines that raised it, with those templates marked that stand out. */
function logs(alert) {
  const strong = new Map(alert.attribution.map((part) => [part.feature, part.share || 0]));
  const said = [...Object.entries(alert.said), ...Object.entries(alert.texts).filter(([name]) => !(name in alert.said)).map(([name, text]) => [name, [text]])]
    .sort((a, b) => (strong.get(b[0]) || 0) - (strong.get(a[0]) || 0));
  if (!said.length && !alert.lines.length) return null;
  const stands = (name) => name in alert.said || (strong.get(name) || 0) >= 0.05 || RARE.has(name);
  return section("Log lines",
    alert.lines.length ? h("ol", { class: "lines" }, alert.lines.map((one) => h("li", { class: stands(one.feature) ? "stands-out" : "" },
      h("code", {}, stands(one.feature) ? h("mark", {}, one.line) : one.line), h("span", { class: "hint" }, one.feature)))) : null,
    said.length ? table("Templates", ["Template", "Feature", "Share"], said.flatMap(([name, texts]) => texts.map((text) => h("tr", { class: stands(name) ? "stands-out" : "" },
      h("td", {}, h("code", {}, stands(name) ? h("mark", {}, text) : text)), h("td", {}, name), h("td", {}, percent(strong.get(name) || 0)))))) : null);
}

async function similar(place, alert, signal) {
  const found = await client.get(`/alerts/${alert.id}/similar`, {}, signal);
  if (!found.length) {
    fill(place, empty("None of the earlier alerts is like it.", "Alike are alerts whose score the same features made."));
    return;
  }
  fill(place, table("Similar earlier alerts", ["Likeness", "Entity", "Began (UTC)", "Severity", "State", "In words"], found.map((one) => h("tr", {},
    h("td", {}, percent(one.similarity)), h("th", { scope: "row" }, h("a", { class: "row-link", href: link(["alerts", one.id]) }, one.entity)),
    h("td", { class: "when" }, time(one.first_time)), h("td", {}, severity(one.severity)), h("td", {}, state(one.state)), h("td", { class: "words" }, one.sentence)))));
}
