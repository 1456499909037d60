// Who is there: a token of `tsad tokens add`.

import { client } from "../client.js";
import { fill, h } from "../dom.js";

export function login(main, reason, begin) {
  document.title = "Sign in · tsad";
  const field = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "token-hint" });
  const problem = h("p", { class: "problem", role: "alert" }, reason);
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h("form", { class: "login card", onsubmit: submit },
    h("h1", {}, "tsad"), h("input", { type: "text", autocomplete: "username", value: "tsad", hidden: true, tabindex: "-1", "aria-hidden": "true" }), h("label", { for: "token" }, "Token"), field,
    h("p", { id: "token-hint", class: "hint" }, h("code", {}, "tsad tokens add NAME"), " makes one. It stays in this browser's session; a viewer's token can change nothing."),
    problem, button);

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      await begin(await client.post("/session", { token: field.value.trim() }));
    } catch (error) {
      problem.textContent = error.message;
      field.select();
    } finally {
      button.disabled = false;
    }
  }

  fill(main, form);
  field.focus();
}
