// Forms of rules. What is filled in is tried first; a fault is told at its field.

import { fill, h } from "../dom.js";
import { busy, decimal, faults, field, filled, select, text, wrong } from "../forms.js";
import { client } from "../client.js";
import { written } from "../format.js";
import { section, SEVERITIES } from "../parts.js";

const NUMBERS = ["min_deviation", "min_relative_deviation", "min_features", "k", "n", "min_score", "clear_score"];
const WHEN = [["open", "When it opens"], ["confirmed", "When it is confirmed"]];

/** A form in the page's place for it, what it would change below it; `asked` makes of what was filled in a label and a rulebook. */
function shown(at, title, fields, asked, trial) {
  const problem = faults();
  const go = h("button", { type: "submit", class: "primary" }, "See what it would change");
  const form = h("form", { class: "settings-form", novalidate: true, onsubmit: (event) => { event.preventDefault(); busy(go, problem, submit); }, oninput: () => fill(at.tried) },
    fields, problem, h("div", { class: "form-end" }, go, h("button", { type: "button", onclick: at.close }, "Cancel")));

  async function submit() {
    wrong(form);
    const { label, book } = asked(filled(form));
    try {
      await trial(at, label, book, (cause) => client.put("/rules", { rulebook: book, cause, after: at.now.version }));
    } catch (error) {
      if (error.status !== 422) throw error;
      wrong(form, error);
    }
  }
  fill(at.form, section(title, form));
  fill(at.tried);
  form.querySelector("input:not([readonly]), select").focus();
}

/** A rule to add at `place` of the rules, or to put in the place of the one that stands there. */
export function ruleForm(at, rule, place, trial) {
  const known = rule || { stream: "*", entity: "*", features: [], direction: "any", min_features: 1 };
  const held = at.now.rulebook.rules;
  const group = (legend, ...fields) => h("fieldset", { class: "group" }, h("legend", {}, legend), h("div", { class: "fields" }, fields));
  const fields = [
    group("For which alerts", field("name", "Name", text(known.name, { maxlength: "200" })), field("stream", "Stream", text(known.stream), "A name, or a glob.", ["*", ...at.streams]),
      field("entity", "Entity", text(known.entity), "A name, or a glob such as web-*."), field("features", "Features", text(known.features.join(", ")), "Names or globs, by commas. Empty: all.")),
    group("A feature counts", field("mute", "Ever", select([["", "As the rest says"], ["yes", "Never (mute)"]], known.mute ? "yes" : "")),
      field("direction", "Direction", select([["any", "Any"], ["up", "Up"], ["down", "Down"]], known.direction)),
      field("min_deviation", "Least deviation", decimal(known.min_deviation), "In the feature's own units, from the middle of what was expected."),
      field("min_relative_deviation", "Least relative deviation", decimal(known.min_relative_deviation), "0.33 is a third of that middle.")),
    group("An alert passes", field("min_features", "Features that count", decimal(known.min_features), "At least so many."), field("min_duration", "Least duration", text(known.min_duration ? written(known.min_duration) : "", { placeholder: "5m" })),
      field("k", "Anomalous slots (k)", decimal(known.k)), field("n", "of so many in a row (n)", decimal(known.n)),
      field("min_score", "Least score", decimal(known.min_score)), field("clear_score", "Least score where it goes on", decimal(known.clear_score)),
      field("notify_on", "Told of", select([["", "As all are"], ...WHEN], known.notify_on ?? ""))),
    group("Besides", field("severity", "Severity", select([["", "Its own"], ...SEVERITIES.map((name) => [name, name])], known.severity ?? "")), field("note", "Note", text(known.note, { maxlength: "2000" }))),
  ];
  const asked = (said) => {
    const numbers = NUMBERS.filter((name) => name in said).map((name) => [name, Number.isNaN(Number(said[name])) ? said[name] : Number(said[name])]);
    const features = (said.features || "").split(",").map((one) => one.trim()).filter(Boolean);
    const made = { ...said, name: said.name || "", like: known.like ?? null, features, mute: "mute" in said, ...Object.fromEntries(numbers) };
    const label = place < held.length ? `Change ${held[place].name}` : `Add ${made.name}`;
    return { label, book: { ...at.now.rulebook, rules: [...held.slice(0, place), made, ...held.slice(place + 1)] } };
  };
  shown(at, place < held.length ? "Change a rule" : "A new rule", fields, asked, trial);
}

/** What holds for all alerts. */
export function general(at, trial) {
  const { notify_on: when, reopen } = at.now.rulebook;
  const fields = h("div", { class: "fields" }, field("notify_on", "Told of", select(WHEN, when)),
    field("reopen", "Goes on one that ended at most so long before", text(written(reopen)), "Of the same entity and leading feature. 0s: never."));
  shown(at, "What holds for all", fields, (said) => ({ label: "Change what holds for all", book: { ...at.now.rulebook, ...said } }), trial);
}
