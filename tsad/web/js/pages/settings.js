// What people decide beforehand: calendars, rules, tokens. Each has an address of its own.

import { fill, h } from "../dom.js";
import { choice } from "../parts.js";
import { link } from "../route.js";
import { calendars } from "../settings/calendars.js";
import { rules } from "../settings/rules.js";
import { tokens } from "../settings/tokens.js";

export const title = "Settings";
const TABS = [["", "Calendars", calendars], ["rules", "Rules", rules], ["tokens", "Tokens", tokens]];

/** Whether there is such an address. */
export const has = (path) => path.length < 3 && TABS.some(([name]) => name === (path[1] || ""));

export async function show({ main, path, query, signal, me }) {
  const [name, text, tab] = TABS.find(([one]) => one === (path[1] || ""));
  const place = h("div");
  await tab(place, { query, signal, me });
  fill(main, h("div", { class: "head" }, h("h1", {}, text),
    choice("Settings", TABS.map(([one, label]) => [label, link(one ? ["settings", one] : ["settings"]), one === name]))), place);
}
