// What people say of an alert, and what that makes of it.

import { client } from "./client.js";
import { announce, fill, h } from "./dom.js";
import { time } from "./format.js";
import { loading, section } from "./parts.js";

const SNOOZE_HOURS = 2;
const WORDS = {
  notify: "People are told of it", hold: "It is held back for now", suppress: "Nobody is told of it", withdraw: "It is none any more",
};
const ANSWERS = [["true", "True"], ["false", "False alarm"], ["expected", "Expected"]];

/** The section of the alert page: the decision, what was said, and, for responders, what can be said. */
export function answers(alert, signal) {
  const place = h("div", { class: "answers" }, loading("answers"));
  load(place, alert.id, signal);
  return section("What people say", place);
}

async function load(place, id, signal, fault = null) {
  let told;
  try {
    told = await Promise.all([client.get(`/alerts/${id}`, {}, signal), client.get(`/alerts/${id}/marks`, {}, signal), client.get("/me", {}, signal)]);
  } catch (error) {
    if (error.name !== "AbortError") fill(place, h("p", { role: "alert" }, error.message));
    return;
  }
  const [alert, marks, me] = told;
  const may = ["responder", "admin"].includes(me.role);
  const again = (error = null) => load(place, id, signal, error);
  fill(place, decision(alert.decision), said(marks, may, again), may ? form(alert, again) : h("p", { class: "hint" }, "A token of a responder can answer."),
    fault ? h("p", { role: "alert", class: "failed" }, fault.message) : null);
}

function decision(made) {
  if (!made) return h("p", { class: "hint" }, "Nothing was decided of it yet.");
  return h("p", { class: "decision" }, `${WORDS[made.standing]}: ${made.reason.replaceAll("_", " ")}${made.rule ? ` (${made.rule})` : ""}.`);
}

function said(marks, may, again) {
  if (!marks.length) return h("p", { class: "hint" }, "Nobody has said anything.");
  return h("ul", { class: "marks" }, marks.map((mark) => h("li", { class: mark.undone_at ? "undone" : "" },
    h("strong", {}, mark.answer || mark.kind), ` ${mark.by}, ${time(mark.at)} UTC`, mark.until ? `, until ${time(mark.until)} UTC` : "",
    mark.note ? h("q", {}, mark.note) : null, mark.undone_at ? ` taken back by ${mark.undone_by}` : null,
    may && !mark.undone_at ? h("button", { type: "button", class: "quiet", onclick: () => act(() => client.delete(`/marks/${mark.id}`), "taken back", again) }, "Take back") : null)));
}

function form(alert, again) {
  const note = h("input", { type: "text", id: "note", maxlength: "2000", autocomplete: "off" });
  const say = (body, done) => act(() => client.post(`/alerts/${alert.id}/marks`, { ...body, note: note.value }), done, again);
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
