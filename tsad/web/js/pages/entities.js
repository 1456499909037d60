// The entities of a stream, by name.

import { client } from "../client.js";
import { fill, h } from "../dom.js";
import { time } from "../format.js";
import { choice, empty, table } from "../parts.js";
import { go, link, withQuery } from "../route.js";

export const title = "Entities";

export async function show({ main, query, signal }) {
  const streams = await client.get("/streams", {}, signal);
  if (!streams.length) {
    fill(main, h("h1", {}, title), empty("No stream has run yet."));
    return;
  }
  const stream = query.stream?.[0] || streams[0].stream;
  const contains = query.contains?.[0] || "";
  const page = await client.get("/entities", { stream, contains, cursor: query.cursor, limit: 100 }, signal);
  const field = h("input", { type: "search", id: "contains", value: contains, placeholder: "part of the name" });
  fill(main,
    h("div", { class: "head" }, h("h1", {}, title), choice("Stream", streams.map((one) => [one.stream, link(["entities"], { stream: one.stream }), one.stream === stream]))),
    h("form", { class: "search card", role: "search", onsubmit: (event) => { event.preventDefault(); go(["entities"], { stream, contains: field.value }); } },
      h("label", { for: "contains" }, "Name contains"), field, h("button", { type: "submit" }, "Search")),
    page.items.length ? table("Entities", ["Entity", "Labels", "First seen (UTC)", "Last seen (UTC)"], page.items.map((row) => h("tr", {},
      h("th", { scope: "row" }, h("a", { class: "row-link", href: link(["entity"], { stream, entity: row.entity }) }, row.entity)),
      h("td", {}, Object.entries(row.labels).map(([name, value]) => `${name}=${value}`).join(", ") || "–"),
      h("td", { class: "when" }, time(row.first_time)), h("td", { class: "when" }, time(row.last_time)))), { class: "card" }) : empty("No entity has such a name."),
    h("nav", { class: "pager", "aria-label": "More entities" }, query.cursor ? h("a", { href: withQuery({ cursor: null }) }, "First page") : null,
      page.next_cursor ? h("a", { href: withQuery({ cursor: page.next_cursor }), rel: "next" }, "Next page") : null));
}
