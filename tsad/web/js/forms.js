// Forms: fields with their labels, and what is wrong with each of them at its place.

import { fill, h } from "./dom.js";

let made = 0;

/** A field with its label. `name` is that of the request's body; what is wrong with it is told below it; `offered` are
 * values that may be chosen. */
export function field(name, label, input, hint = "", offered = null) {
  const id = `field-${++made}`;
  const told = { id, name, "aria-describedby": hint ? `${id}-hint ${id}-wrong` : `${id}-wrong`, list: offered ? `${id}-offered` : null };
  for (const [key, value] of Object.entries(told)) if (value) input.setAttribute(key, value);
  return h("div", { class: "field" }, h("label", { for: id }, label), input,
    offered ? h("datalist", { id: `${id}-offered` }, offered.map((one) => h("option", { value: one }))) : null,
    hint ? h("p", { class: "hint", id: `${id}-hint` }, hint) : null, h("p", { class: "wrong", id: `${id}-wrong` }));
}

export const text = (value = "", more = {}) => h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...more, value: value ?? "" });

/** A number; what is none is left to the API to refuse. */
export const decimal = (value) => text(value, { inputmode: "decimal" });

export const moment = (value = "") => h("input", { type: "datetime-local", value: value || "" });

export function select(options, value) {
  const list = h("select", {}, options.map(([name, label]) => h("option", { value: name }, label)));
  list.value = value ?? options[0][0];
  return list;
}

/** What was filled in, by name; what is empty is left out. */
export function filled(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value !== ""));
}

/** Where what is wrong with a form as a whole is told. */
export const faults = () => h("p", { class: "problem", role: "alert" });

/** Tell what is wrong: of each field below it, the rest at the form's end. Without an error nothing is. */
export function wrong(form, error = null) {
  for (const place of form.querySelectorAll(".wrong")) fill(place);
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  const rest = [];
  for (const fault of error?.errors?.length ? error.errors : error ? [{ field: "", detail: error.message }] : []) {
    const name = fault.field.split(".").filter((part) => !/^\d+$/.test(part)).pop();
    const input = form.elements[name];
    if (!(input instanceof HTMLElement)) {
      rest.push(fault.detail);
      continue;
    }
    input.setAttribute("aria-invalid", "true");
    document.getElementById(`${input.id}-wrong`).append(h("span", {}, fault.detail));
  }
  fill(form.querySelector(".problem"), rest.length ? rest.join("; ") : form.querySelector("[aria-invalid]") ? "Something above is not allowed." : "");
  form.querySelector("[aria-invalid]")?.focus();
}

/** Do what a button is for, once at a time; what goes wrong is told at `place`. */
export async function busy(button, place, work) {
  button.disabled = true;
  fill(place);
  try {
    await work();
  } catch (error) {
    if (error.name !== "AbortError") fill(place, error.message);
  } finally {
    button.disabled = false;
  }
}
