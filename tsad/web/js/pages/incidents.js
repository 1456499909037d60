// Incidents: alerts that belong together. Filters and pages are in the address.

import { client } from "../client.js";
import { fill, h } from "../dom.js";
import { live } from "../live.js";
import { choice, empty, incidentRow, SEVERITIES } from "../parts.js";
import { link, withQuery } from "../route.js";

export const title = "Incidents";
const STATES = [["Open", "open"], ["Resolved", "resolved"], ["All", ""]];
const SORTS = [["Newest first", ""], ["Worst first", "-severity_score"]];

export async function show({ main, query, signal }) {
  const one = (name) => query[name]?.[0] || "";
  const [page, streams] = await Promise.all([
    client.get("/incidents", { stream: one("stream"), entity: one("entity"), state: query.state, severity: query.severity, type: one("type"), sort: one("sort"), cursor: one("cursor"), limit: 50 }, signal),
    client.get("/streams", {}, signal),
  ]);
  const to = (changes) => withQuery({ cursor: null, ...changes });
  const fresh = h("p", { class: "changed", hidden: true, role: "status" }, "There is something new. ", h("a", { href: to({}), onclick: () => show({ main, query, signal }) }, "Show it"));
  fill(main,
    h("div", { class: "head" }, h("h1", {}, title), h("div", { class: "filters" },
      choice("State", STATES.map(([text, value]) => [text, to({ state: value }), one("state") === value])),
      choice("Severity", [["Any", to({ severity: null }), !one("severity")], ...SEVERITIES.map((name) => [name, to({ severity: name }), one("severity") === name])]),
      choice("Order", SORTS.map(([text, value]) => [text, to({ sort: value }), one("sort") === value])),
      streams.length > 1 ? choice("Stream", [["All streams", to({ stream: null }), !one("stream")], ...streams.map((row) => [row.stream, to({ stream: row.stream }), one("stream") === row.stream])]) : null)),
    one("type") ? h("p", { class: "hint" }, "Incidents of one type. ", h("a", { href: to({ type: null }) }, "Show all types")) : null,
    fresh,
    page.items.length ? h("ul", { class: "rows" }, page.items.map(incidentRow))
      : empty("No incident meets these filters.", "Alerts become incidents while `tsad serve` or `tsad triage` runs.", h("a", { href: link(["incidents"]) }, "Show all incidents")),
    h("nav", { class: "pager", "aria-label": "More incidents" }, query.cursor ? h("a", { href: withQuery({ cursor: null }) }, "First page") : null,
      page.next_cursor ? h("a", { href: withQuery({ cursor: page.next_cursor }), rel: "next" }, "Next page") : null));
  live.addEventListener("alert", () => { fresh.hidden = false; }, { signal });
}
