// The keyboard: letters act where no field has the focus.

import { fill, h } from "./dom.js";
import { go } from "./route.js";

const SHORTCUTS = [
  ["j / k", "next, previous row of a list"], ["Enter", "open the row"], ["/", "to the search field"],
  ["g o", "overview"], ["g i", "incidents"], ["g a", "alerts"], ["g e", "entities"], ["g m", "models"], ["u", "back"], ["?", "this help"],
];
const PAGES = { o: [], i: ["incidents"], a: ["alerts"], e: ["entities"], m: ["models"] };

let leading = false;

function step(by) {
  const rows = [...document.querySelectorAll("#main .row-link")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(Math.max(at + by, 0), rows.length - 1)].focus();
}

export function help() {
  const dialog = document.getElementById("help");
  fill(dialog, h("h2", { id: "help-title" }, "Keyboard"),
    h("dl", { class: "keys" }, SHORTCUTS.map(([keys, what]) => h("div", {}, h("dt", {}, h("kbd", {}, keys)), h("dd", {}, what)))),
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
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "u") history.back();
    else if (event.key === "?") help();
    else if (event.key === "/") document.querySelector("#main input[type=search]")?.focus();
    else return;
    event.preventDefault();
  });
}
