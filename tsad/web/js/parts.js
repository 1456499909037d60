// Pieces that several pages have: badges, tables, and what is shown while there is nothing to show.

import { h } from "./dom.js";
import { number, percent, short, time } from "./format.js";
import { link } from "./route.js";

export const SEVERITIES = ["critical", "warning", "info"];
export const STATES = ["open", "confirmed", "resolved", "retracted"];

export const severity = (name) => h("span", { class: `badge ${name}` }, name);
export const state = (name) => h("span", { class: `state ${name}` }, name);

export function loading(what) {
  return h("div", { class: "waiting", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), `Loading ${what} …`);
}

export function empty(title, hint, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), hint ? h("p", {}, hint) : null, ...more);
}

/** What went wrong, and a way on. */
export function failed(error, again) {
  return h("div", { class: "failed", role: "alert" },
    h("p", { class: "empty-title" }, error.status ? `${error.title || "Error"} (${error.status})` : "No answer"),
    h("p", {}, error.message),
    again ? h("button", { type: "button", onclick: again }, "Try again") : null);
}

export function section(title, ...children) {
  const id = `s-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

/** Wide tables scroll by themselves, by keyboard too. */
export function table(caption, headings, rows, options = {}) {
  return h("div", { class: `scroll ${options.class || ""}`, tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, headings.map((heading) => h("th", { scope: "col" }, heading)))),
      h("tbody", {}, rows)));
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter((pair) => pair[1] !== null && pair[1] !== undefined).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** A list of links, one of which is where one is. */
export function choice(label, options) {
  return h("div", { class: "choice", role: "group", "aria-label": label }, options.map(([text, href, current]) =>
    h("a", { href, class: current ? "on" : "", "aria-current": current ? "true" : null }, text)));
}

/** An alert as a line of a list. */
export function alertRow(alert) {
  const features = alert.features.map((part) => part.feature).join(", ");
  return h("li", { class: `alert-row ${alert.severity} ${alert.state}`, "data-id": alert.id },
    h("a", { class: "row-link", href: link(["alerts", alert.id]) },
      h("span", { class: "row-top" }, severity(alert.severity), state(alert.state),
        h("span", { class: "entity" }, alert.entity), h("span", { class: "row-time" }, `${time(alert.first_time)} UTC`)),
      h("span", { class: "row-sentence" }, alert.sentence || (alert.explained ? "No sentence." : "The explanation is still being made.")),
      h("span", { class: "row-facts" }, `${alert.stream} · score ${number(alert.score)} · confidence ${percent(alert.confidence)}`,
        features ? ` · ${features}` : "", alert.explained_by_event ? " · explained by an event" : "", ` · ${short(alert.id)}`)));
}

/** An incident as a line of a list. */
export function incidentRow(incident) {
  const like = incident.like ? `like INC-${incident.like.number}` : incident.new_type ? "new type" : "";
  return h("li", { class: `alert-row ${incident.severity} ${incident.state}`, "data-id": incident.id },
    h("a", { class: "row-link", href: link(["incidents", incident.id]) },
      h("span", { class: "row-top" }, severity(incident.severity), state(incident.state),
        h("span", { class: "entity" }, `INC-${incident.number}`), like ? h("span", { class: "hint-inline" }, like) : null,
        h("span", { class: "row-time" }, `${time(incident.first_time)} UTC`)),
      h("span", { class: "row-sentence" }, incident.title),
      h("span", { class: "row-facts" }, `${incident.stream} · ${incident.alerts} ${incident.alerts === 1 ? "alert" : "alerts"} of ${incident.entities} ${incident.entities === 1 ? "entity" : "entities"} · first ${incident.entity}, ${incident.feature} · score ${number(incident.score)}`)));
}
