// Model versions: which is in force, and what is known of each.

import { client } from "../client.js";
import { fill, h } from "../dom.js";
import { time } from "../format.js";
import { choice, empty, section } from "../parts.js";
import { link } from "../route.js";

export const title = "Models";

export async function show({ main, query, signal }) {
  const stream = query.stream?.[0] || "";
  const [models, streams] = await Promise.all([client.get("/models", { stream }, signal), client.get("/streams", {}, signal)]);
  fill(main, h("div", { class: "head" }, h("h1", {}, title), choice("Stream", [["All streams", link(["models"]), !stream],
    ...streams.map((one) => [one.stream, link(["models"], { stream: one.stream }), one.stream === stream])])));
  if (!models.length) main.append(empty("No models yet.", "`tsad fit STREAM --from PATH` makes one."));
  for (const model of [...models].reverse()) main.append(card(model));
}

function card(model) {
  const shown = section(`${model.stream} ${model.version}`,
    h("p", { class: "row-top" }, h("span", { class: `state ${model.state}` }, model.state), `made ${time(model.created_at)} UTC`, model.activated_at ? `, in force since ${time(model.activated_at)} UTC` : ""),
    h("details", {}, h("summary", {}, "What is known of it"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Details of ${model.version}` }, tree(model.meta))));
  const id = `m-${model.stream}-${model.version}`.replace(/[^\w-]/g, "_");
  shown.setAttribute("aria-labelledby", id);
  shown.querySelector("h2").id = id;
  return shown;
}

/** Nested values as nested lists. */
function tree(value) {
  if (Array.isArray(value)) {
    return value.every((one) => typeof one !== "object") ? h("span", {}, value.slice(0, 60).join(", "), value.length > 60 ? ` … (${value.length})` : "") : h("ol", {}, value.slice(0, 60).map((one) => h("li", {}, tree(one))));
  }
  if (value && typeof value === "object") {
    return h("dl", { class: "tree" }, Object.entries(value).map(([name, one]) => h("div", {}, h("dt", {}, name), h("dd", {}, tree(one)))));
  }
  return h("span", {}, value === null ? "–" : String(value));
}
