// Rules as text: as `tsad rules apply` reads them, without what a rule does not say.

import { h } from "../dom.js";
import { number, percent, written } from "../format.js";

const UNSAID = { stream: "*", entity: "*", mute: false, direction: "any", min_features: 1, note: "" };
const DURATIONS = new Set(["min_duration", "reopen"]);

function value(name, what) {
  if (DURATIONS.has(name)) return JSON.stringify(written(what));
  return Array.isArray(what) ? `[${what.map((one) => JSON.stringify(one)).join(", ")}]` : JSON.stringify(what);
}

const said = (name, what) => what !== null && what !== undefined && what !== UNSAID[name] && !(Array.isArray(what) && !what.length);

/** One rule. What it calls alike has no short form in a file, and is told in words. */
export function ruleText({ like, ...rule }) {
  const lines = Object.entries(rule).filter(([name, what]) => said(name, what)).map(([name, what]) => `${name} = ${value(name, what)}`);
  if (like) {
    const led = Object.entries(like.features).map(([name, share]) => `${name} (${percent(share)})`).join(", ");
    lines.push(`# alerts of ${like.stream} like one led by ${led}, score ${number(like.score)}, ${like.slots} ${like.slots === 1 ? "slot" : "slots"}`);
  }
  return ["[[rules]]", ...lines].join("\n");
}

/** All of them. */
export function bookText({ rules, ...rest }) {
  return [Object.entries(rest).map(([name, what]) => `${name} = ${value(name, what)}`).join("\n"), ...rules.map(ruleText)].join("\n\n");
}

/** What one version has that the one before it had not. */
export function differences(before = { notify_on: "open", reopen: "0s", rules: [] }, after) {
  const [old, now] = [before, after].map((book) => new Map(book.rules.map((rule) => [rule.name, JSON.stringify(rule)])));
  const lines = [
    ...[...now.keys()].filter((name) => !old.has(name)).map((name) => `+ ${name}`), ...[...old.keys()].filter((name) => !now.has(name)).map((name) => `− ${name}`),
    ...[...now.keys()].filter((name) => old.has(name) && old.get(name) !== now.get(name)).map((name) => `changed: ${name}`),
    ...["notify_on", "reopen"].filter((name) => before[name] !== after[name]).map((name) => `${name}: ${before[name]} to ${after[name]}`),
  ];
  return lines.length ? h("ul", { class: "plain" }, lines.map((line) => h("li", {}, line))) : h("p", { class: "hint" }, "The same as before.");
}
