// One incident: what it is called, what moved first, who is suspected, and its alerts.

import { answers, decisions } from "../answers.js";
import { client } from "../client.js";
import { fill, h } from "../dom.js";
import { count, number, percent, span, time } from "../format.js";
import { alertRow, empty, facts, section, severity, state, table } from "../parts.js";
import { link } from "../route.js";

export const title = "Incident";
const ARROWS = { 1: "↑ up", "-1": "↓ down", 0: "–" };

export async function show({ main, path, signal, me }) {
  const incident = await client.get(`/incidents/${encodeURIComponent(path[1])}`, {}, signal);
  fill(main, heading(incident),
    h("div", { class: "columns wide-left" },
      h("div", {}, section("Suspects", suspects(incident)), section("Alerts", h("ul", { class: "rows" }, incident.members.map(alertRow)))),
      h("div", {}, answers(`/incidents/${incident.id}`, decisions, me, signal), section("What happened", timeline(incident)), section("Facts", details(incident)), section("Others like it", others(incident)))));
}

function heading(incident) {
  return h("div", { class: "alert-head" },
    h("p", { class: "crumbs" }, h("a", { href: link(["incidents"]) }, "Incidents"), " / ", h("a", { href: link(["incidents"], { stream: incident.stream }) }, incident.stream)),
    h("h1", {}, `INC-${incident.number}: ${incident.title}`),
    h("p", { class: "row-top" }, severity(incident.severity), state(incident.state), `${time(incident.first_time)} to ${time(incident.last_time)} UTC`),
    h("p", { class: "sentence" }, kind(incident)),
    incident.merged_into ? h("p", { class: "event" }, "Its alerts went to ", h("a", { href: link(["incidents", incident.merged_into]) }, incident.merged_into.slice(0, 12)), ".") : null);
}

function kind(incident) {
  if (incident.like) {
    return [`${percent(incident.likeness)} like `, h("a", { href: link(["incidents", incident.like.id]) }, `INC-${incident.like.number}`),
      `, ${incident.times_in_30_days} times in 30 days.`];
  }
  return incident.new_type ? "A new type: nothing before it was like it." : "";
}

function details(incident) {
  return facts([
    ["Severity", `${incident.severity} (${number(incident.severity_score)})`], ["Score", number(incident.score)], ["Moved first", `${incident.entity}: ${incident.feature}`],
    ["Alerts", count(incident.alerts)], ["Entities", count(incident.entities)], ["Opened", `${time(incident.opened_at)} UTC`], ["Id", h("code", {}, incident.id)],
  ]);
}

function suspects(incident) {
  if (!incident.suspects.length) return empty("Nobody is suspected yet.", "Its alerts wait to be explained.");
  const most = Math.max(...incident.suspects.map((one) => one.blame || 0), 1e-9);
  const bar = (value) => {
    const inner = h("span", { class: "bar up", "aria-hidden": "true" });
    inner.style.width = `${((value || 0) / most) * 100}%`;
    return h("span", { class: "bar-room from-left" }, inner);
  };
  return [h("p", { class: "hint" }, "By the share of the deviation and by who moved first; the blame of all adds up to 1."),
    table("Suspects", ["Entity and channel", "Blame", "Share", "Behind the first", "Direction"], incident.suspects.map((one) => h("tr", {},
      h("th", { scope: "row" }, h("a", { class: "row-link", href: link(["entity"], { stream: one.stream, entity: one.entity, feature: one.feature }) }, one.entity), h("span", { class: "channel" }, one.feature), one.text ? h("q", {}, one.text) : ""),
      h("td", { class: "blame" }, percent(one.blame), bar(one.blame)), h("td", {}, percent(one.share)), h("td", {}, one.lag === 0 ? "first" : span(one.lag)), h("td", {}, ARROWS[one.direction]))))];
}

function timeline(incident) {
  const words = (one) => ({ moved: `${one.feature} moved ${one.direction > 0 ? "up" : one.direction < 0 ? "down" : ""}`.trim(), opened: "alert opened", ended: "alert ended" })[one.what];
  return incident.timeline.length ? h("ol", { class: "timeline" }, incident.timeline.slice(0, 40).map((one) => h("li", { class: one.what },
    h("time", { datetime: one.time }, time(one.time)), h("span", {}, h("a", { href: link(["alerts", one.alert]) }, one.entity), ` ${words(one)}`))),
  incident.timeline.length > 40 ? h("li", {}, `and ${incident.timeline.length - 40} more`) : null) : empty("Nothing yet.");
}

function others(incident) {
  return incident.similar.length ? h("ul", { class: "plain" }, incident.similar.map((one) => h("li", {}, h("a", { href: link(["incidents", one.id]) }, `INC-${one.number}`), ` ${one.title}`)))
    : h("p", { class: "hint" }, "None of its type.");
}
