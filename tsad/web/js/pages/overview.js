// How everything stands: what is open, when there were alerts, who is strange, whether streams keep up.

import { alertBars, draw, figure } from "../charts.js";
import { client } from "../client.js";
import { fill, h } from "../dom.js";
import { bounded, count, number, percent, span, time } from "../format.js";
import { live } from "../live.js";
import { alertRow, choice, empty, incidentRow, loading, section, SEVERITIES, table } from "../parts.js";
import { link, withQuery } from "../route.js";

export const title = "Overview";
const SPANS = [["All", ""], ["6 h", "21600"], ["24 h", "86400"], ["7 d", "604800"], ["30 d", "2592000"]];
const REPLAY = 30 * 86400; // a stream that is so far behind reads old data
const LEVELS = [0.25, 0.5, 0.75, 1, 1.5];

export async function show({ main, query, signal }) {
  const stream = query.stream?.[0] || "";
  const seconds = query.span?.[0] || "";
  const [standing, streams] = await Promise.all([client.get("/overview", { stream }, signal), client.get("/streams", {}, signal)]);
  if (!streams.length) {
    fill(main, h("h1", {}, title), empty("No stream has run yet.", "`tsad demo` watches bundled data; `tsad run STREAM` watches yours."));
    return;
  }
  const since = seconds ? new Date(Date.parse(standing.until) - Number(seconds) * 1000).toISOString() : "";
  const asked = { stream, since, until: standing.until };
  const places = { open: h("div"), incidents: h("div", {}, loading("incidents")), bars: h("div", {}, loading("alerts")), heat: h("div", {}, loading("entities")), newest: h("div", {}, loading("alerts")), health: h("div") };
  fill(main,
    h("div", { class: "head" }, h("h1", {}, title), h("div", { class: "filters" },
      choice("Stream", [["All streams", withQuery({ stream: "" }), !stream], ...streams.map((one) => [one.stream, withQuery({ stream: one.stream }), one.stream === stream])]),
      choice("Time", SPANS.map(([text, value]) => [text, withQuery({ span: value }), value === seconds])))),
    places.open,
    section("Open incidents", places.incidents),
    h("div", { class: "columns wide-left" },
      h("div", {}, section("Alerts over time", places.bars), section("Entities by anomaly rate", places.heat)), section("Newest alerts", places.newest)),
    section("Streams", places.health));
  openAlerts(places.open, standing, stream);
  health(places.health, standing);
  await Promise.all([incidents(places.incidents, stream, signal), bars(places.bars, asked, signal), heat(places.heat, asked, signal), newest(places.newest, asked, signal)]);
  follow(places, stream, asked, signal);
}

/** What is new is shown a second later, however many alerts come at once. */
function follow(places, stream, asked, signal) {
  let due = null;
  const again = async () => {
    due = null;
    const standing = await client.get("/overview", { stream }, signal);
    const now = { ...asked, until: standing.until };
    openAlerts(places.open, standing, stream);
    health(places.health, standing);
    await Promise.all([incidents(places.incidents, stream, signal), bars(places.bars, now, signal), heat(places.heat, now, signal), newest(places.newest, now, signal)]);
  };
  const heard = () => { due ??= setTimeout(() => again().catch(() => {}), 1000); };
  live.addEventListener("alert", heard, { signal });
  live.addEventListener("reset", heard, { signal });
  signal.addEventListener("abort", () => clearTimeout(due));
}

function openAlerts(place, standing, stream) {
  const total = SEVERITIES.reduce((sum, name) => sum + (standing.open[name] || 0), 0);
  fill(place, h("div", { class: "tiles" },
    h("a", { class: "tile", href: link(["alerts"], { state: ["open", "confirmed"], stream }) }, h("span", { class: "tile-number" }, bounded(total)), h("span", {}, total === 1 ? "open alert" : "open alerts")),
    SEVERITIES.map((name) => h("a", { class: `tile ${name}`, href: link(["alerts"], { state: ["open", "confirmed"], severity: name, stream }) },
      h("span", { class: "tile-number" }, bounded(standing.open[name] || 0)), h("span", {}, name)))));
}

async function incidents(place, stream, signal) {
  const page = await client.get("/incidents", { stream, state: "open", sort: "-severity_score", limit: 4 }, signal);
  fill(place, page.items.length ? h("ul", { class: "rows" }, page.items.map(incidentRow)) : empty("No incident is open."),
    h("p", {}, h("a", { href: link(["incidents"], { stream }) }, "All incidents")));
}

async function bars(place, asked, signal) {
  const counts = await client.get("/alert-counts", asked, signal);
  const total = counts.buckets.reduce((sum, bucket) => sum + Object.values(bucket.counts).reduce((a, b) => a + b, 0), 0);
  if (!total) {
    fill(place, empty("No alerts in this time.", `${time(counts.since)} to ${time(counts.until)} UTC`));
    return;
  }
  const chart = figure(null, `${count(total)} alerts from ${time(counts.since)} to ${time(counts.until)}, by severity`, 220);
  fill(place, h("p", { class: "hint" }, `${count(total)} alerts, a bar is ${span(counts.bucket_seconds)}`, h("span", { class: "legend" }, SEVERITIES.map((name) => h("span", {}, h("i", { class: name, "aria-hidden": "true" }), name)))), chart.element);
  await draw(chart.plot, alertBars(counts));
}

async function newest(place, asked, signal) {
  const page = await client.get("/alerts", { ...asked, since: asked.since, limit: 5 }, signal);
  fill(place, page.items.length ? h("ul", { class: "rows" }, page.items.map(alertRow)) : empty("No alerts in this time."),
    h("p", {}, h("a", { href: link(["alerts"], { stream: asked.stream }) }, "All alerts")));
}

async function heat(place, asked, signal) {
  const map = await client.get("/heat-map", { ...asked, limit: 25 }, signal);
  if (!map.rows.length) {
    fill(place, empty("No entity has been seen."));
    return;
  }
  const start = Date.parse(map.since);
  const cell = (row, value, place_) => {
    const level = value === null ? "none" : LEVELS.filter((bound) => value >= bound).length;
    const at = new Date(start + place_ * map.bucket_seconds * 1000);
    return h("td", { class: `heat heat-${level}`, title: value === null ? `${time(at)}: nothing` : `${time(at)}: score ${number(value)}` });
  };
  fill(place,
    h("p", { class: "hint" }, `The greatest score of each ${span(map.bucket_seconds)}; above 1 is anomalous.`,
      h("span", { class: "legend" }, ["0", "¼", "½", "¾", "1", "1½"].map((text, level) => h("span", {}, h("i", { class: `heat-${level}`, "aria-hidden": "true" }), text)))),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Entities by anomaly rate" },
      h("table", { class: "heatmap" }, h("caption", { class: "unseen" }, `Entities by anomaly rate from ${time(map.since)} to ${time(map.until)}`),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Entity"), h("th", { scope: "col", class: "heat-rank" }, "Alerts"), h("th", { scope: "col", class: "heat-rank" }, "Rate"),
          h("th", { scope: "col", colspan: map.rows[0].maxima.length, class: "heat-times" }, h("span", {}, time(map.since)), h("span", {}, time(map.until))))),
        h("tbody", {}, map.rows.map((row) => h("tr", {},
          h("th", { scope: "row" }, h("a", { class: "row-link", href: link(["entity"], { stream: row.stream, entity: row.entity }) }, row.entity)),
          h("td", { class: "heat-rank" }, count(row.alerts)), h("td", { class: "heat-rank" }, percent(row.rate)), row.maxima.map((value, at) => cell(row, value, at))))))));
  place.lastChild.scrollLeft = place.lastChild.scrollWidth; // the newest first, where not all has room
}

function health(place, standing) {
  const now = Date.parse(standing.now);
  fill(place, table("Streams", ["Stream", "Closed until (UTC)", "Lag", "Last save", "Partitions", "Late", "Duplicates", "Dead letters", "Open alerts"],
    standing.streams.map((one) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: link(["entities"], { stream: one.stream }) }, one.stream)),
      h("td", {}, time(one.closed_until)), h("td", {}, one.lag_seconds > REPLAY ? h("span", { title: span(one.lag_seconds) }, "replay") : span(one.lag_seconds)),
      h("td", {}, one.saved_at ? `${span((now - Date.parse(one.saved_at)) / 1000)} ago` : "never"),
      h("td", {}, `${one.partitions}`, one.owned < one.partitions ? h("span", { class: "bad" }, ` ${one.partitions - one.owned} without a worker`) : ""),
      h("td", {}, count(one.late)), h("td", {}, count(one.duplicates)),
      h("td", { class: one.dead_letters ? "bad" : "" }, count(one.dead_letters)), h("td", {}, bounded(one.open)))), { class: "numbers" }));
}
