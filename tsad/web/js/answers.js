// What people say of an alert or an incident, and what that makes of it.

import { client } from "./client.js";
import { announce, fill, h } from "./dom.js";
import { time } from "./format.js";
import { loading, section } from "./parts.js";
import { link } from "./route.js";

const SNOOZE_HOURS = 2;
const WORDS = {
  notify: "People are told of it", hold: "It is held back for now", suppress: "Nobody is told of it", withdraw: "It is none any more",
};
const MANY = { notify: "told of", hold: "held back for now", suppress: "not told of", withdraw: "none any more" };
export const ANSWERS = [["true", "True"], ["false", "False alarm"], ["expected", "Expected"]];

/** Whether a role may answer. */
export const answering = (role) => ["responder", "admin"].includes(role);

/** The section of a page: what was decided, what was said, and, for responders, what can be said. `path` is that of the
 * alert or incident, `decided` tells of it what was decided. */
export function answers(path, decided, me, signal) {
  const place = h("div", { class: "answers" }, loading("answers"));
  load({ place, path, decided, me, signal });
  return section("What people say", place);
}

async function load(at, fault = null) {
  const { place, path, decided, me, signal } = at;
  let told;
  try {
    told = await Promise.all([client.get(path, {}, signal), client.get(`${path}/marks`, {}, signal)]);
  } catch (error) {
    if (error.name !== "AbortError") fill(place, h("p", { role: "alert" }, error.message));
    return;
  }
  const [what, marks] = told;
  const may = answering(me.role);
  const again = (error = null) => load(at, error);
  fill(place, decided(what), said(marks, path, may, again), may ? form(path, again) : h("p", { class: "hint" }, "A token of a responder can answer."),
    fault ? h("p", { role: "alert", class: "failed" }, fault.message) : null);
}

/** Of an alert: what was decided of it. */
export function decision({ decision: made }) {
  if (!made) return h("p", { class: "hint" }, "Nothing was decided of it yet.");
  return h("p", { class: "decision" }, `${WORDS[made.standing]}: ${made.reason.replaceAll("_", " ")}${made.rule ? ` (${made.rule})` : ""}.`);
}

/** Of an incident: what was decided of its alerts. */
export function decisions({ members }) {
  const counted = new Map();
  for (const { decision: made } of members) {
    const text = made ? `${MANY[made.standing]} (${made.reason.replaceAll("_", " ")})` : "nothing decided yet";
    counted.set(text, (counted.get(text) || 0) + 1);
  }
  return h("p", { class: "decision" }, `Of its ${members.length} ${members.length === 1 ? "alert" : "alerts"}: ${[...counted].map(([text, count]) => `${count} ${text}`).join(", ")}.`);
}

function said(marks, path, may, again) {
  if (!marks.length) return h("p", { class: "hint" }, "Nobody has said anything.");
  const of = (incident) => (incident && !path.endsWith(incident) ? [", of ", h("a", { href: link(["incidents", incident]) }, "the whole incident")] : "");
  return h("ul", { class: "marks" }, marks.map((mark) => h("li", { class: mark.undone_at ? "undone" : "" },
    h("strong", {}, mark.answer || mark.kind), ` ${mark.by}, ${time(mark.at)} UTC`, mark.until ? `, until ${time(mark.until)} UTC` : "", of(mark.incident),
    mark.note ? h("q", {}, mark.note) : null, mark.undone_at ? ` taken back by ${mark.undone_by}` : null,
    " ", may && !mark.undone_at ? h("button", { type: "button", class: "quiet", onclick: () => act(() => client.delete(`/marks/${mark.id}`), "taken back", again) }, "Take back") : null)));
}

function form(path, again) {
  const note = h("input", { type: "text", id: "note", maxlength: "2000", autocomplete: "off" });
  const say = (body, done) => act(() => client.post(`${path}/marks`, { ...body, note: note.value }), done, again);
  const button = (text, body) => h("button", { type: "button", onclick: () => say(body(), text) }, text);
  return h("div", { class: "say" },
    h("p", {}, h("label", { for: "note" }, "Note "), note),
    h("p", { class: "buttons", role: "group", "aria-label": "Is it true?" }, ANSWERS.map(([answer, text]) => button(text, () => ({ kind: "feedback", answer })))),
    h("p", { class: "buttons", role: "group", "aria-label": "What to do" },
      button("Acknowledge", () => ({ kind: "acknowledge" })),
      button(`Snooze ${SNOOZE_HOURS} h`, () => ({ kind: "snooze", until: new Date(Date.now() + SNOOZE_HOURS * 3600e3).toISOString() })),
      button("Close", () => ({ kind: "close" })), button("Reopen", () => ({ kind: "reopen" }))));
}

async function act(work, done, again) {
  try {
    await work();
    announce(done);
    await again();
  } catch (error) {
    await again(error);
  }
}
