// An entity: its score and channels over time, also where nothing alerted, and why not.

import { channel, draw, figure, scores, together } from "../charts.js";
import { client } from "../client.js";
import { fill, h } from "../dom.js";
import { number, span, time } from "../format.js";
import { alertRow, choice, empty, section, table } from "../parts.js";
import { link, withQuery } from "../route.js";

export const title = "Entity";
const SPANS = [["6 h", 6], ["24 h", 24], ["3 d", 72], ["7 d", 168], ["30 d", 720]];

export async function show({ main, query, signal }) {
  const stream = query.stream?.[0] || "";
  const entity = query.entity?.[0] || "";
  const asked = { stream, entity, since: query.since, until: query.until };
  const history = await client.get("/history", { ...asked, feature: query.feature, points: Math.min(Math.max(innerWidth, 200), 600) }, signal);
  const points = history.score.length;
  const start = Date.parse(history.start);
  const at = (place) => new Date(start + place * history.point_seconds * 1000).toISOString();
  const first = query.since?.[0] || (points ? at(0) : "");
  const last = query.until?.[0] || (points ? at(points) : "");
  const within = first ? { since: first, until: last } : {};
  const [alerts, near, events] = await Promise.all([
    client.get("/alerts", { stream, entity, ...within, limit: 100 }, signal),
    client.get("/near-misses", { stream, entity, ...within }, signal),
    client.get("/context-events", { stream, since: first, limit: 50 }, signal),
  ]);
  const charts = h("div", { class: "charts" });
  fill(main,
    h("p", { class: "crumbs" }, h("a", { href: link(["entities"], { stream }) }, "Entities"), " / ", h("a", { href: link([""], { stream }) }, stream)),
    h("div", { class: "head" }, h("h1", {}, entity), ranges(query, last)),
    points ? h("p", { class: "hint" }, `${time(first)} to ${time(last)} UTC, a point is ${span(history.point_seconds)}`) : null,
    points ? section("Score and channels", legend(), charts, picker(history, query)) : section("Score and channels", empty("There is no history of this time.", "Closed slots are kept for `history_days`; a stream without history keeps scores and alerts only.")),
    section("Alerts", alerts.items.length ? h("ul", { class: "rows" }, alerts.items.map(alertRow)) : empty("Nothing alerted in this time.")),
    section("Nearly, and why not", why(near)),
    happened(events.filter((event) => !last || Date.parse(event.start) < Date.parse(last))));
  if (points) await curves(charts, history, alerts.items, Array.from({ length: points }, (_, place) => at(place)));
}

function ranges(query, last) {
  const end = last || new Date().toISOString();
  const shown = (Date.parse(end) - Date.parse(query.since?.[0] || "")) / 3600e3;
  const back = (hours) => new Date(Date.parse(end) - hours * 3600e3).toISOString();
  const moved = (sign) => {
    const width = Date.parse(end) - Date.parse(query.since?.[0]);
    return withQuery({ since: new Date(Date.parse(query.since[0]) + sign * width).toISOString(), until: new Date(Date.parse(end) + sign * width).toISOString() });
  };
  return h("div", { class: "filters" },
    choice("Time", [...SPANS.map(([text, hours]) => [text, withQuery({ since: back(hours), until: end }), Math.abs(shown - hours) < 0.1]), ["Newest week", withQuery({ since: null, until: null }), !query.since]]),
    query.since ? choice("Move", [["‹ Earlier", moved(-1), false], ["Later ›", moved(1), false]]) : null);
}

const legend = () => h("p", { class: "hint legend" },
  h("span", {}, h("i", { class: "band", "aria-hidden": "true" }), "98% of the values where nothing was anomalous"), h("span", {}, h("i", { class: "spread", "aria-hidden": "true" }), "least to most of a point"),
  h("span", {}, h("i", { class: "mark-swatch", "aria-hidden": "true" }), "alert"), " Drag to zoom, double-click to see all.");

async function curves(place, history, alerts, x) {
  const stretches = alerts.filter((alert) => alert.state !== "retracted").map((alert) => ({ ...alert, end: new Date(Date.parse(alert.last_time) + history.point_seconds * 1000).toISOString() }));
  const top = figure(h("strong", {}, "Score"), `The score, the greatest of each point; above 1 is anomalous`, 170);
  place.append(top.element);
  const made = [[top.plot, scores({ x, score: history.score, alerts: stretches })]];
  for (const one of history.channels) {
    const text = history.texts[one.feature];
    const chart = figure(h("span", {}, h("strong", {}, one.feature), text ? h("q", {}, text) : ""), `Values of ${one.feature}, usually ${number(one.lower)} to ${number(one.upper)}`, 150);
    place.append(chart.element);
    const plain = channel({ x, observed: one.mean, lower: one.lower, upper: one.upper, least: one.least, most: one.most });
    made.push([chart.plot, plain]);
  }
  await Promise.all(made.map(([plot, make]) => draw(plot, make)));
  together(made.map(([plot]) => plot));
}

function picker(history, query) {
  const on = new Set(query.feature || history.channels.map((one) => one.feature));
  const form = h("form", { class: "picker", onsubmit: (event) => {
    event.preventDefault();
    location.hash = withQuery({ feature: new FormData(form).getAll("feature").slice(0, 12) });
  } }, h("div", { class: "boxes" }, history.features.map((name) => h("label", { class: "box" }, h("input", { type: "checkbox", name: "feature", value: name, checked: on.has(name) }), name))),
  h("button", { type: "submit" }, "Show these (12 at most)"));
  return h("details", {}, h("summary", {}, `Channels: ${history.channels.length} of ${history.features.length}`), form);
}

function why(near) {
  if (!near.length) return empty("No slot came near.", "Every score of this time stayed below 0.5, half of the threshold.");
  return table("Slots that came near", ["Time (UTC)", "Score", "Why no alert"], near.map((one) => h("tr", {},
    h("td", { class: "when" }, time(one.time)), h("td", {}, number(one.score)), h("td", { class: "words" }, one.why, one.alert ? h("span", {}, " ", h("a", { href: link(["alerts", one.alert]) }, one.alert.slice(0, 12))) : ""))));
}

function happened(events) {
  if (!events.length) return null;
  return section("Events", table("Events around the stream", ["Start (UTC)", "Until (UTC)", "Kind", "Title"], events.map((event) => h("tr", {},
    h("td", {}, time(event.start)), h("td", {}, event.end ? time(event.end) : "–"), h("td", {}, event.kind), h("td", {}, event.title)))));
}
