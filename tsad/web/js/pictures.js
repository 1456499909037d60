// Channels around an alert, as they are drawn.

import { channel, draw, figure } from "./charts.js";
import { h } from "./dom.js";
import { number } from "./format.js";

/** Draws channels of `series` below each other in a place: (place, some of the channels) to their plots. */
export function pictures(alert, series, texts = {}, height = 150) {
  const count = series.channels[0]?.observed.length || 0;
  const end = Date.parse(series.end_time);
  const step = series.step_seconds * 1000;
  const x = Array.from({ length: count }, (_, at) => new Date(end - (count - 1 - at) * step).toISOString());
  const half = step / 2;
  const from = new Date(Math.max(Date.parse(alert.first_time) - half, Date.parse(x[0]) - half)).toISOString();
  const to = new Date(Math.min(Date.parse(alert.last_time) + half, end + half)).toISOString();
  return (place, channels) => Promise.all(channels.map((one) => {
    const text = texts[one.feature];
    const chart = figure(h("span", {}, h("strong", {}, one.feature), text ? h("q", {}, text) : ""), `Values of ${one.feature}, expected ${number(one.lower)} to ${number(one.upper)}`, height);
    place.append(chart.element);
    return draw(chart.plot, channel({ x, observed: one.observed, lower: one.lower, upper: one.upper, from, to })).then(() => chart.plot);
  }));
}
