// Maintenance windows and holidays: when nobody is told, and how that is changed.

import { client } from "../client.js";
import { announce, fill, h } from "../dom.js";
import { busy, faults, field, filled, moment, select, text, wrong } from "../forms.js";
import { time, written } from "../format.js";
import { empty, section } from "../parts.js";

const KINDS = [["maintenance", "Maintenance"], ["holiday", "Holiday"]];
const DAYS = { MO: "Monday", TU: "Tuesday", WE: "Wednesday", TH: "Thursday", FR: "Friday", SA: "Saturday", SU: "Sunday" };
const EVERY = { DAILY: "day", WEEKLY: "week", MONTHLY: "month", YEARLY: "year" };
const OFTEN = [["", "Once"], ["FREQ=DAILY", "Every day"], ["FREQ=WEEKLY", "Every week"], ["FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "On weekdays"],
  ["FREQ=MONTHLY", "Every month"], ["FREQ=YEARLY", "Every year"], ["other", "By another rule"]];
const ALWAYS = ["name", "kind", "stream", "entity", "timezone", "start", "note"];

export async function calendars(place, { signal, me }) {
  const may = ["responder", "admin"].includes(me.role);
  const [entries, streams] = await Promise.all([client.get("/calendars", {}, signal), client.get("/streams", {}, signal)]);
  const edit = h("div");
  const again = async () => {
    await calendars(place, { signal, me });
    place.querySelector(".add").focus();
  };
  const close = () => {
    fill(edit);
    place.querySelector(".add").focus();
  };
  const open = (calendar) => {
    fill(edit, form(calendar, streams.map((one) => one.stream), again, close));
    edit.querySelector("input:not([readonly])").focus();
  };
  const [coming, over] = [true, false].map((wanted) => entries.filter((entry) => entry.next.length > 0 === wanted));
  const list = (some) => h("ul", { class: "rows" }, some.map((entry) => row(entry, may, open, again)));
  fill(place,
    h("p", { class: "hint" }, "Maintenance windows and holidays: nobody is told of an alert that lies within one, and nothing is learnt of it."),
    may ? h("button", { type: "button", class: "add", onclick: () => open(null) }, "Add a calendar") : h("p", { class: "hint" }, "A token of a responder can change them."),
    edit,
    coming.length ? list(coming) : empty("No calendar holds anything back."),
    over.length ? h("details", { class: "over" }, h("summary", {}, `${over.length} that ${over.length === 1 ? "is" : "are"} over`), list(over)) : null);
}

function row({ calendar, by, saved_at: saved, next }, may, open, again) {
  const now = next.length > 0 && Date.parse(next[0].start) <= Date.now();
  const problem = faults();
  const path = `/calendars/${encodeURIComponent(calendar.name)}`;
  const end = { ...calendar, [calendar.rrule ? "expires" : "end"]: new Date().toISOString() };
  const button = (label, onclick) => h("button", { type: "button", "aria-label": `${label}: ${calendar.name}`, onclick }, label);
  const acting = (label, work, done) => button(label, (event) => busy(event.currentTarget, problem, async () => {
    await work();
    announce(done);
    await again();
  }));
  return h("li", { class: `setting ${now ? "now" : ""}` },
    h("p", { class: "row-top" }, h("strong", { class: "entity" }, calendar.name), h("span", { class: "state" }, calendar.kind), now ? h("span", { class: "state active" }, "on now") : null),
    h("p", {}, whose(calendar), ", ", when(calendar)),
    next.length ? h("p", { class: "nexts" }, now ? "Now and next:" : "Next:", next.map((one) => h("time", { datetime: one.start }, stretch(one)))) : null,
    calendar.note ? h("q", {}, calendar.note) : null,
    h("p", { class: "row-facts" }, `by ${by}, ${time(saved)} UTC`),
    may ? h("p", { class: "buttons" }, button("Change", () => open(calendar)),
      next.length && (now || calendar.rrule) ? acting(calendar.rrule ? "No more of it" : "End it now", () => client.put(path, end), "ended") : null,
      acting("Remove", () => client.delete(path), "removed")) : null,
    problem);
}

function whose({ stream, entity }) {
  if (stream === "*" && entity === "*") return "Everything";
  return [entity === "*" ? "All entities" : h("code", {}, entity), " of ", stream === "*" ? "all streams" : h("code", {}, stream)];
}

function when(calendar) {
  const zone = calendar.timezone;
  const start = onClock(calendar.start, zone);
  if (!calendar.rrule) return `once, ${start} to ${onClock(calendar.end, zone)} ${zone}`;
  return [inWords(calendar.rrule) || h("code", {}, calendar.rrule), ` from ${start} ${zone} on, for ${written(calendar.duration)}`,
    calendar.expires ? `, until ${onClock(calendar.expires, zone)}` : ""];
}

/** Sun 2026-03-29 03:30 to 04:30 (+02:00), as the API tells it: on the clock of the zone. */
function stretch({ start, end }) {
  const [from, to] = [start, end].map((one) => one.slice(0, 16).replace("T", " "));
  const day = new Date(`${start.slice(0, 10)}T00:00Z`).toLocaleDateString("en", { weekday: "short", timeZone: "UTC" });
  return `${day} ${from} to ${to.slice(0, 10) === from.slice(0, 10) ? to.slice(11) : to} (${start.endsWith("Z") ? "UTC" : start.slice(-6)})`;
}

/** A moment as the clock of a zone shows it; one without a zone is that already. */
function onClock(value, zone) {
  if (!/(Z|[+-]\d\d:?\d\d)$/.test(value)) return value.slice(0, 16).replace("T", " ");
  return new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "short" }).format(new Date(value));
}

/** A rule of recurrence in words, or null where it says more than these. */
function inWords(rule) {
  const parts = Object.fromEntries(rule.toUpperCase().replace(/^RRULE:/, "").split(";").map((part) => part.split("=")));
  const { FREQ: often, INTERVAL: interval = "1", BYDAY: days = "", ...rest } = parts;
  const named = days ? days.split(",").map((day) => DAYS[day]) : [];
  if (!(often in EVERY) || Object.keys(rest).length || named.includes(undefined)) return null;
  return `every ${interval === "1" ? EVERY[often] : `${interval} ${EVERY[often]}s`}${named.length ? ` on ${named.join(", ")}` : ""}`;
}

function form(calendar, streams, again, close) {
  const known = calendar || { kind: "maintenance", stream: "*", entity: "*", timezone: Intl.DateTimeFormat().resolvedOptions().timeZone };
  const at = (value) => (value ? onClock(value, known.timezone).replace(" ", "T") : "");
  const rule = known.rrule || "";
  const often = select(OFTEN, OFTEN.some(([value]) => value === rule) ? rule : "other");
  const end = field("end", "End", moment(at(known.end)));
  const rrule = field("rrule", "Rule", text(rule, { placeholder: "FREQ=WEEKLY;BYDAY=SU", maxlength: "500" }), "RFC 5545: daily or slower.");
  const lasting = [field("duration", "Lasts", text(known.duration ? written(known.duration) : "", { placeholder: "1h" }), "Such as 45m, 1h, 2d."),
    field("expires", "Expires", moment(at(known.expires)), "None begins from then on. Empty: it goes on.")];
  const arrange = () => {
    end.hidden = often.value !== "";
    rrule.hidden = often.value !== "other";
    for (const one of lasting) one.hidden = often.value === "";
  };
  often.addEventListener("change", arrange);
  arrange();
  const save = h("button", { type: "submit", class: "primary" }, "Save");
  const problem = faults();
  const made = h("form", { class: "settings-form", novalidate: true, onsubmit: (event) => { event.preventDefault(); busy(save, problem, submit); } },
    h("div", { class: "fields" },
      field("name", "Name", text(known.name, { maxlength: "200", readonly: calendar !== null })), field("kind", "Kind", select(KINDS, known.kind)),
      field("stream", "Stream", text(known.stream), "A name, or a glob.", ["*", ...streams]),
      field("entity", "Entity", text(known.entity), "A name, or a glob such as db-*."),
      field("timezone", "Time zone", text(known.timezone), "Its clock counts, with summer time.", ["UTC", ...(Intl.supportedValuesOf?.("timeZone") || [])]),
      field("start", "Start", moment(at(known.start))), field("often", "How often", often), end, rrule, ...lasting,
      field("note", "Note", text(known.note, { maxlength: "2000" }))),
    problem, h("div", { class: "form-end" }, save, h("button", { type: "button", onclick: close }, "Cancel")));

  async function submit() {
    const said = filled(made);
    const more = { "": ["end"], other: ["rrule", "duration"] }[often.value] || ["duration"];
    const missing = ["name", "start", ...more].filter((name) => !(name in said));
    wrong(made, missing.length ? { errors: missing.map((name) => ({ field: name, detail: "This is needed." })) } : null);
    if (missing.length) return;
    const body = Object.fromEntries([...ALWAYS, ...more].filter((name) => name in said).map((name) => [name, said[name]]));
    if (calendar) body.name = calendar.name; // as it is, with all its spaces
    if (often.value) Object.assign(body, { expires: said.expires, rrule: body.rrule || often.value });
    try {
      await client.put(`/calendars/${encodeURIComponent(body.name)}`, body);
    } catch (error) {
      wrong(made, error);
      return;
    }
    announce("saved");
    await again();
  }
  return section(calendar ? "Change a calendar" : "A new calendar", made);
}
