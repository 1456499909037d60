// Rules: those in force, those that answers speak for, and earlier ones. Nothing is applied before it is seen what it would change.

import { client } from "../client.js";
import { announce, fill, h } from "../dom.js";
import { busy, faults } from "../forms.js";
import { count, number, time } from "../format.js";
import { choice, empty, failed, loading, section, severity, table } from "../parts.js";
import { link, withQuery } from "../route.js";
import { general, ruleForm } from "./ruleforms.js";
import { bookText, differences, ruleText } from "./ruletext.js";

const DAYS = ["7", "30", "90", "365"];
const SHOWN = 20;
const VERSIONS = 50;
const NONE = { notify_on: "open", reopen: "0s", rules: [] };

export async function rules(place, { query, signal, me }) {
  const days = query.days?.[0] || "30";
  const [versions, streams] = await Promise.all([client.get("/rules/versions", {}, signal), client.get("/streams", {}, signal)]);
  const places = { form: h("div"), tried: h("div"), proposed: h("div", {}, loading("what answers speak for")) };
  const at = {
    ...places, may: me.role === "admin", days, now: versions[0] || { version: 0, rulebook: NONE }, before: versions[1]?.rulebook || NONE,
    streams: streams.map((one) => one.stream), signal,
    again: async () => { await rules(place, { query, signal, me }); place.querySelector("h2").focus(); },
    close: () => { fill(at.form); fill(at.tried); place.querySelector("h2").focus(); },
  };
  fill(place,
    h("div", { class: "head above" }, h("p", { class: "hint" }, "Rules say of which alerts people are told, and how bad they are. What others would change is tried on the last days:"),
      choice("Tried on the last days", DAYS.map((one) => [`${one} days`, withQuery({ days: one }), one === days]))),
    section("In force", inForce(at)), at.form, at.tried, section("Proposals", at.proposed), section("Versions", history(versions)));
  place.querySelector("h2").tabIndex = -1;
  proposals(at);
}

function inForce(at) {
  const { now, may } = at;
  const { rules: held, ...rest } = now.rulebook;
  const problem = faults();
  const button = (text, name, work) => h("button", { type: "button", "aria-label": name ? `${text}: ${name}` : null, onclick: (event) => busy(event.currentTarget, problem, work) }, text);
  const remove = (rule) => {
    const book = { ...now.rulebook, rules: held.filter((one) => one !== rule) };
    fill(at.form);
    return trial(at, `Remove ${rule.name}`, book, (cause) => apply(at, book, cause));
  };
  const takeBack = () => {
    fill(at.form);
    return trial(at, `Take version ${now.version} back`, at.before, () => client.post("/rules/undo", { version: now.version }), { why: false });
  };
  return [
    h("p", { class: "row-facts" }, now.version ? made(now) : "There are none yet: people are told of every alert."),
    h("pre", { class: "toml" }, bookText({ ...rest, rules: [] })),
    h("ul", { class: "rows" }, held.map((rule, place) => h("li", { class: "setting" }, h("pre", { class: "toml" }, ruleText(rule)),
      may ? h("p", { class: "buttons" }, button("Change", rule.name, () => ruleForm(at, rule, place, trial)), button("Remove", rule.name, () => remove(rule))) : null))),
    may ? h("p", { class: "buttons" }, button("Add a rule", "", () => ruleForm(at, null, held.length, trial)), button("Change what holds for all", "", () => general(at, trial)),
      now.version ? button(`Take version ${now.version} back`, "", takeBack) : null) : h("p", { class: "hint" }, "A token of an admin can change them."),
    problem,
  ];
}

const made = (version) => `Version ${version.version}, by ${version.by}, ${time(version.at)} UTC${version.cause ? `: ${version.cause}` : ""}`;
const apply = (at, book, cause) => client.put("/rules", { rulebook: book, cause, after: at.now.version });

/** What a change would do, and, once that is seen, the button that applies it. Rejects with the API's problem where the rules are not allowed. */
async function trial(at, label, book, act, { why = true } = {}) {
  const told = await client.ask("POST", `/rules/preview?days=${at.days}`, book, at.signal);
  const cause = h("input", { type: "text", id: "cause", maxlength: "2000", autocomplete: "off" });
  const problem = faults();
  const go = h("button", { type: "button", class: "primary", onclick: () => busy(go, problem, async () => {
    await act(cause.value);
    announce("applied");
    await at.again();
  }) }, why ? "Apply" : label);
  const card = section("What it would change", h("p", {}, h("strong", {}, label)), result(told, at.days),
    why ? h("p", { class: "field" }, h("label", { for: "cause" }, "Why"), cause) : null, problem,
    h("p", { class: "form-end" }, go, h("button", { type: "button", onclick: at.close }, "Cancel")));
  fill(at.tried, card);
  (why ? cause : go).focus();
}

/** Alerts that would vanish or appear. */
function result(told, days) {
  const some = (rows, text, kind) => (rows.length ? h("details", { open: kind === "lost" }, h("summary", { class: kind === "lost" ? "bad" : "" }, text), alerts(rows, text)) : null);
  const many = (rows) => `${count(rows.length)} ${rows.length === 1 ? "alert" : "alerts"}`;
  return h("div", { class: "trial" },
    h("p", {}, `Of ${count(told.looked_at)} alerts of the last ${days} days `, h("strong", {}, `${count(told.vanish.length)} would vanish`), " and ", h("strong", {}, `${count(told.appear.length)} would appear`), "."),
    some(told.lost, `${many(told.lost)} that somebody said to be true would vanish`, "lost"),
    some(told.vanish, `${many(told.vanish)} would vanish`, "vanish"), some(told.appear, `${many(told.appear)} would appear`, "appear"));
}

function alerts(rows, caption) {
  return [table(caption, ["Entity", "Stream", "Began (UTC)", "Severity", "Score", "Why"], rows.slice(0, SHOWN).map((row) => h("tr", {},
    h("th", { scope: "row" }, h("a", { class: "row-link", href: link(["alerts", row.alert]) }, row.entity)), h("td", {}, row.stream), h("td", { class: "when" }, time(row.first_time)),
    h("td", {}, severity(row.severity)), h("td", {}, number(row.score)), h("td", {}, row.reason.replaceAll("_", " "), row.rule ? ` (${row.rule})` : "")))),
  rows.length > SHOWN ? h("p", { class: "hint" }, `and ${count(rows.length - SHOWN)} more`) : null];
}

async function proposals(at) {
  const place = at.proposed;
  let found;
  try {
    found = await client.get("/feedback/proposals", { days: at.days }, at.signal);
  } catch (error) {
    if (error.name !== "AbortError") fill(place, failed(error, () => { fill(place, loading("what answers speak for")); proposals(at); }));
    return;
  }
  const held = new Set(at.now.rulebook.rules.map((rule) => rule.name));
  const news = found.filter((one) => !held.has(one.rule.name));
  fill(place, news.length ? h("ul", { class: "rows" }, news.map((one) => proposal(one, at)))
    : empty("Answers speak for no rule.", "Where alerts were said to be false or expected, rules that hold back such ones are proposed here."));
}

function proposal({ rule, why, alerts: of, preview }, at) {
  const problem = faults();
  const book = { ...at.now.rulebook, rules: [...at.now.rulebook.rules, rule] };
  const take = h("button", { type: "button", class: "primary", "aria-label": `Apply: ${rule.name}`, onclick: () => busy(take, problem, async () => {
    await apply(at, book, why);
    announce("applied");
    await at.again();
  }) }, "Apply");
  return h("li", { class: "setting" }, h("p", {}, h("strong", {}, why), ". See ", of.slice(0, 5).map((id, place) => [place ? ", " : "", h("a", { href: link(["alerts", id]) }, id.slice(0, 12))]), of.length > 5 ? ` and ${of.length - 5} more` : "", "."),
    h("pre", { class: "toml" }, ruleText(rule)), result(preview, at.days),
    at.may ? h("p", { class: "buttons" }, take, h("button", { type: "button", "aria-label": `Change it first: ${rule.name}`, onclick: () => ruleForm(at, rule, at.now.rulebook.rules.length, trial) }, "Change it first")) : null, problem);
}

function history(versions) {
  if (!versions.length) return empty("No rules were applied yet.");
  return [h("ol", { class: "versions" }, versions.slice(0, VERSIONS).map((version, place) => h("li", {}, h("details", {},
    h("summary", {}, made(version)), differences(versions[place + 1]?.rulebook, version.rulebook), h("pre", { class: "toml" }, bookText(version.rulebook)))))),
  versions.length > VERSIONS ? h("p", { class: "hint" }, `and ${versions.length - VERSIONS} earlier ones: `, h("code", {}, "tsad rules history")) : null];
}
