// The review queue: alerts that nobody has answered, those first whose answers would teach most. Made for the keyboard.

import { ANSWERS, answering } from "../answers.js";
import { client } from "../client.js";
import { announce, fill, h } from "../dom.js";
import { keysOfPage, step } from "../keys.js";
import { alertRow, choice, empty, loading } from "../parts.js";
import { pictures } from "../pictures.js";
import { link } from "../route.js";

export const title = "Review";
const KEYS = { true: "t", false: "f", expected: "e" };
const LIMIT = 20;
const DRAWN = 2;

export async function show({ main, query, signal, me }) {
  const stream = query.stream?.[0] || "";
  const [found, streams] = await Promise.all([client.get("/review", { stream, limit: LIMIT }, signal), client.get("/streams", {}, signal)]);
  const at = { may: answering(me.role), signal, left: h("p", { class: "hint", role: "status" }), said: [], again: () => show({ main, query, signal, me }) };
  at.list = h("ol", { class: "rows review" }, found.map((one) => row(one, at)));
  fill(main,
    h("div", { class: "head" }, h("h1", {}, title), streams.length > 1 ? choice("Stream", [["All streams", link(["review"]), !stream],
      ...streams.map((one) => [one.stream, link(["review"], { stream: one.stream }), one.stream === stream])]) : null),
    h("p", { class: "hint" }, "Alerts that nobody has answered, those first whose answers would teach most."),
    at.may ? h("p", { class: "hint keys-shown" }, Object.entries({ "j k": "next, previous", t: "true", f: "false alarm", e: "expected", z: "take the last answer back", Enter: "open" })
      .map(([key, what]) => h("span", {}, key.split(" ").map((one) => h("kbd", {}, one)), ` ${what}`))) : h("p", { class: "hint" }, "A token of a responder can answer."),
    found.length ? [at.left, at.list] : empty("There is nothing to review.", "Every alert of the last days has an answer, or waits to be explained."));
  if (at.may) listen(at);
  at.list.addEventListener("focusin", ({ target }) => look(target.closest(".review-row"), at));
  tell(at);
  open(at)[0]?.querySelector(".row-link").focus({ preventScroll: true });
}

/** Rows that have no answer yet. */
const open = (at) => [...at.list.querySelectorAll(".review-row:not(.answered)")];

function tell(at) {
  const many = open(at).length;
  fill(at.left, many ? `${many} to go.` : ["That is all of these. ", h("button", { type: "button", onclick: at.again }, "Look for more")]);
}

function row(alert, at) {
  const made = alertRow(alert);
  made.classList.add("review-row");
  const buttons = ANSWERS.map(([answer, text]) => h("button", { type: "button", "aria-keyshortcuts": KEYS[answer], onclick: () => say(made, answer, text, at) }, text, h("kbd", { "aria-hidden": "true" }, KEYS[answer])));
  made.alert = alert;
  made.append(h("div", { class: "review-more" }, h("p", { class: "reason" }, alert.why), h("div", { class: "picture" }),
    at.may ? h("p", { class: "buttons", role: "group", "aria-label": `What is the alert of ${alert.entity}?` }, buttons) : null, h("p", { class: "outcome" })));
  return made;
}

/** Draw the channels of the row one is at, and of no other. */
async function look(made, at) {
  if (!made || made === at.current) return;
  if (at.current) fill(at.current.querySelector(".picture"));
  at.current?.classList.remove("current");
  at.current = made;
  made.classList.add("current");
  const place = made.querySelector(".picture");
  fill(place, loading("channels"));
  try {
    const series = await client.get(`/alerts/${made.alert.id}/series`, {}, at.signal);
    if (at.current !== made) return;
    fill(place);
    await pictures(made.alert, series, {}, 120)(place, series.channels.slice(0, DRAWN));
  } catch (error) {
    if (error.name !== "AbortError") fill(place, h("p", { class: "hint" }, error.status === 409 ? "There are no curves." : error.message));
  }
}

async function say(made, answer, text, at) {
  if (made.classList.contains("answered")) return;
  const outcome = made.querySelector(".outcome");
  made.classList.add("answered");
  const next = open(at).find((one) => made.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING) || open(at)[0];
  (next || made).querySelector(".row-link").focus();
  try {
    const mark = await client.post(`/alerts/${made.alert.id}/marks`, { kind: "feedback", answer });
    at.said.push({ made, mark });
    fill(outcome, h("strong", {}, text), " ", h("button", { type: "button", class: "quiet", onclick: () => unsay(mark, made, at) }, "Take back"));
    announce(text);
  } catch (error) {
    made.classList.remove("answered");
    fill(outcome, h("span", { class: "bad", role: "alert" }, error.message));
  }
  tell(at);
}

async function unsay(mark, made, at) {
  try {
    await client.delete(`/marks/${mark.id}`);
  } catch (error) {
    fill(made.querySelector(".outcome"), h("span", { class: "bad", role: "alert" }, error.message));
    return;
  }
  at.said = at.said.filter((one) => one.mark !== mark);
  made.classList.remove("answered");
  fill(made.querySelector(".outcome"));
  made.querySelector(".row-link").focus();
  announce("taken back");
  tell(at);
}

function listen(at) {
  const here = (answer, text) => () => {
    const made = document.activeElement.closest(".review-row");
    if (made) say(made, answer, text, at);
  };
  const back = () => {
    const last = at.said[at.said.length - 1];
    if (last) unsay(last.mark, last.made, at);
  };
  keysOfPage([...ANSWERS.map(([answer, text]) => [KEYS[answer], text.toLowerCase(), here(answer, text)]), ["z", "take the last answer back", back],
    ["ArrowDown", "next row", () => step(1)], ["ArrowUp", "previous row", () => step(-1)]], at.signal);
}
