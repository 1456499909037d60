// Tokens: who may ask. What a bearer says is shown once, when it is made.

import { client } from "../client.js";
import { announce, fill, h } from "../dom.js";
import { busy, faults, field, filled, select, text, wrong } from "../forms.js";
import { time } from "../format.js";
import { empty, section, table } from "../parts.js";

const ROLES = [["viewer", "viewer: reads"], ["responder", "responder: answers too"], ["admin", "admin: everything"], ["ingest", "ingest: pushes data, reads none"]];
const EXPIRES = [["90", "In 90 days"], ["7", "In 7 days"], ["30", "In 30 days"], ["365", "In a year"], ["", "Never"]];

export async function tokens(place, { signal, me }) {
  if (me.role !== "admin") {
    fill(place, section("Tokens", empty("An admin sees who may ask.", `This session is ${me.name}'s, of the role ${me.role}.`)));
    return;
  }
  const secret = h("div", { role: "status" });
  const list = h("div");
  const again = async () => fill(list, listed(await client.get("/tokens", {}, signal), me, again));
  await again();
  fill(place, section("A new token", form(secret, again)), secret, section("Tokens", list));
}

function form(secret, again) {
  const save = h("button", { type: "submit", class: "primary" }, "Make it");
  const problem = faults();
  const made = h("form", { class: "settings-form", novalidate: true, onsubmit: (event) => { event.preventDefault(); busy(save, problem, submit); } },
    h("div", { class: "fields" }, field("name", "Name", text("", { maxlength: "200" }), "Whose it is: a person, a program. Never used again."),
      field("role", "Role", select(ROLES)), field("expires_at", "Expires", select(EXPIRES))),
    problem, h("div", { class: "form-end" }, save));

  async function submit() {
    const { name = "", role, expires_at: days } = filled(made);
    wrong(made, name ? null : { errors: [{ field: "name", detail: "This is needed." }] });
    if (!name) return;
    let told;
    try {
      told = await client.post("/tokens", { name, role, expires_at: days ? new Date(Date.now() + days * 86400e3).toISOString() : null });
    } catch (error) {
      wrong(made, error.status === 409 ? { errors: [{ field: "name", detail: error.message }] } : error);
      return;
    }
    made.reset();
    show(secret, told);
    await again();
  }
  return made;
}

function show(place, { name, token }) {
  const shown = text(token, { readonly: true, id: "secret", class: "secret" });
  const copied = h("span", { role: "status" });
  const copy = async () => {
    shown.select();
    await navigator.clipboard?.writeText(token).catch(() => document.execCommand("copy")); // a page without TLS has no clipboard
    fill(copied, "Copied.");
  };
  fill(place, section("Shown this once", h("p", {}, h("label", { for: "secret" }, "The token of ", h("strong", {}, name), ". Only its hash is kept: nobody can show it again.")),
    shown, h("p", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: copy }, "Copy"), h("button", { type: "button", onclick: () => fill(place) }, "Done"), copied)));
  shown.focus();
  shown.select();
}

function listed(rows, me, again) {
  const order = [...rows].sort((a, b) => b.holds - a.holds);
  return table("Tokens", ["Name", "Holds", "Role", "Until (UTC)", "Made (UTC)"], order.map((row) => h("tr", { class: row.holds ? "" : "ended" },
    h("th", { scope: "row" }, row.name, row.name === me.name ? h("span", { class: "hint-inline" }, " (this session)") : ""),
    h("td", {}, row.holds ? revoking(row, again) : row.revoked_at ? "revoked" : "expired"), h("td", {}, row.role),
    h("td", { class: "when" }, time(row.revoked_at || row.expires_at)), h("td", { class: "when" }, time(row.created_at)))));
}

/** Asks again first: it cannot be undone. */
function revoking(row, again) {
  const place = h("span", { class: "buttons" });
  const problem = h("span", { class: "bad", role: "alert" });
  const ask = () => fill(place, h("button", { type: "button", "aria-label": `Revoke: ${row.name}`, onclick: sure }, "Revoke"));
  function sure() {
    const yes = h("button", { type: "button", class: "danger", "aria-label": `Revoke for good: ${row.name}`, onclick: () => busy(yes, problem, async () => {
      await client.delete(`/tokens/${encodeURIComponent(row.name)}`);
      announce("revoked");
      await again();
    }) }, "For good");
    fill(place, yes, h("button", { type: "button", onclick: ask }, "Keep"), problem);
    yes.focus();
  }
  ask();
  return place;
}
