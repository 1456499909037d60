// The keyboard: letters act where no field has the focus.

import { fill, h } from "./dom.js";
import { go } from "./route.js";

const SHORTCUTS = [
  ["j / k", "next, previous row of a list"], ["Enter", "open the row"], ["/", "to the search field"],
  ["g o", "overview"], ["g i", "incidents"], ["g a", "alerts"], ["g r", "review"], ["g e", "entities"], ["g m", "models"], ["g s", "settings"], ["u", "back"], ["?", "this help"],
];
const PAGES = { o: [], i: ["incidents"], a: ["alerts"], r: ["review"], e: ["entities"], m: ["models"], s: ["settings"] };

let leading = false;
let own = [];

/** Keys of one page, as [key, what it does, work], until `signal` ends. */
export function keysOfPage(keys, signal) {
  own = keys;
  signal.addEventListener("abort", () => { if (own === keys) own = []; });
}

/** To the next row, or the one before. */
export function step(by) {
  const rows = [...document.querySelectorAll("#main .row-link")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(Math.max(at + by, 0), rows.length - 1)].focus();
}

export function help() {
  const dialog = document.getElementById("help");
  fill(dialog, h("h2", { id: "help-title" }, "Keyboard"),
    h("dl", { class: "keys" }, [...own, ...SHORTCUTS].map(([keys, what]) => h("div", {}, h("dt", {}, h("kbd", {}, keys)), h("dd", {}, what)))),
    h("button", { type: "button", onclick: () => dialog.close() }, "Close"));
  dialog.showModal();
}

export function listen() {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, dialog[open]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const led = leading;
    leading = false;
    if (led && event.key in PAGES) go(PAGES[event.key]);
    else if (event.key === "g") leading = true;
    else if (own.some(([key]) => key === event.key)) own.find(([key]) => key === event.key)[2]();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "u") history.back();
    else if (event.key === "?") help();
    else if (event.key === "/") document.querySelector("#main input[type=search]")?.focus();
    else return;
    event.preventDefault();
  });
}
