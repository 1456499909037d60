// The list of alerts: filters and pages are in the address, and rows change as alerts do.

import { client } from "../client.js";
import { announce, fill, h } from "../dom.js";
import { live } from "../live.js";
import { alertRow, empty, SEVERITIES, STATES } from "../parts.js";
import { go, link, withQuery } from "../route.js";

export const title = "Alerts";
const SORTS = [["-first_time", "Newest first"], ["first_time", "Oldest first"], ["-score", "Strangest first"], ["score", "Least strange first"]];
const FILTERS = ["stream", "entity", "state", "severity", "since", "until", "sort"];
const LIMIT = 50;

export async function show({ main, query, signal }) {
  const asked = Object.fromEntries(FILTERS.map((name) => [name, query[name]]));
  const [page, streams] = await Promise.all([
    client.get("/alerts", { ...asked, cursor: query.cursor, limit: LIMIT }, signal), client.get("/streams", {}, signal),
  ]);
  const list = h("ul", { class: "rows", id: "alerts" }, page.items.map(alertRow));
  const nothing = empty("No alert meets these filters.", "", h("a", { href: link(["alerts"]) }, "Show all alerts"));
  nothing.hidden = page.items.length > 0;
  fill(main, h("h1", {}, title), filters(query, streams), list, nothing,
    h("nav", { class: "pager", "aria-label": "More alerts" },
      query.cursor ? h("a", { href: withQuery({ cursor: null }) }, "First page") : null,
      page.next_cursor ? h("a", { href: withQuery({ cursor: page.next_cursor }), rel: "next" }, "Next page") : h("span", { class: "hint" }, "That is all.")));
  const front = !query.cursor && (!query.sort || query.sort[0] === "-first_time");
  live.addEventListener("alert", ({ detail }) => changed(list, nothing, detail, front && meets(detail, query)), { signal });
}

function filters(query, streams) {
  const one = (name) => query[name]?.[0] || "";
  const select = (name, label, options) => h("label", {}, h("span", {}, label),
    withValue(h("select", { name }, options.map(([value, text]) => h("option", { value }, text))), one(name)));
  const boxes = (name, label, values) => h("fieldset", {}, h("legend", {}, label), values.map((value) =>
    h("label", { class: "box" }, h("input", { type: "checkbox", name, value, checked: query[name]?.includes(value) }), value)));
  const moment = (name, label) => h("label", {}, h("span", {}, label), h("input", { type: "datetime-local", name, value: one(name).slice(0, 16) }));
  const form = h("form", { class: "filters-form card", onsubmit: (event) => { event.preventDefault(); apply(form); }, onchange: () => apply(form) },
    select("stream", "Stream", [["", "All"], ...streams.map((row) => [row.stream, row.stream])]),
    h("label", {}, h("span", {}, "Entity"), h("input", { type: "search", name: "entity", value: one("entity"), placeholder: "its whole name" })),
    boxes("state", "State", STATES), boxes("severity", "Severity", SEVERITIES),
    moment("since", "Since (UTC)"), moment("until", "Until (UTC)"), select("sort", "Order", SORTS),
    h("div", { class: "form-end" }, h("button", { type: "submit" }, "Apply"), h("a", { href: link(["alerts"]) }, "Clear")));
  return h("details", { class: "filter-box", open: innerWidth > 700 || undefined }, h("summary", {}, "Filters"), form);
}

function withValue(select, value) {
  select.value = value || select.options[0].value;
  return select;
}

function apply(form) {
  const said = new FormData(form);
  const query = {};
  for (const name of FILTERS) query[name] = said.getAll(name).filter(Boolean);
  for (const name of ["since", "until"]) query[name] = query[name].map((value) => `${value}${value.length === 16 ? ":00" : ""}Z`);
  if (query.sort[0] === "-first_time") query.sort = [];
  go(["alerts"], query);
}

function meets(alert, query) {
  const any = (name) => !query[name] || query[name].includes(alert[name]);
  return any("stream") && any("entity") && any("state") && any("severity")
    && (!query.since || Date.parse(alert.last_time) >= Date.parse(query.since[0])) && (!query.until || Date.parse(alert.first_time) < Date.parse(query.until[0]));
}

/** A row that is shown is shown as it is now; one that begins goes to its place. */
function changed(list, nothing, alert, comes) {
  const shown = [...list.children].find((row) => row.dataset.id === alert.id);
  if (!shown && !comes) return;
  const row = alertRow(alert);
  row.classList.add("fresh");
  row.dataset.time = alert.first_time;
  const focused = shown?.contains(document.activeElement);
  if (shown) shown.replaceWith(row);
  else list.insertBefore(row, [...list.children].find((other) => (other.dataset.time || "") && other.dataset.time < alert.first_time) || list.firstChild);
  if (focused) row.querySelector("a").focus();
  nothing.hidden = true;
  announce(`Alert ${alert.state}: ${alert.severity}, ${alert.entity}`);
}
