// Numbers and times as people read them. Event times are UTC, as in every other output of tsad.

const pad = (number) => String(number).padStart(2, "0");

/** 2023-01-29 13:34, with seconds where there are some. */
export function time(value) {
  if (!value) return "–";
  const at = new Date(value);
  const day = `${at.getUTCFullYear()}-${pad(at.getUTCMonth() + 1)}-${pad(at.getUTCDate())}`;
  const seconds = at.getUTCSeconds();
  return `${day} ${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}${seconds ? `:${pad(seconds)}` : ""}`;
}

/** 3 min, 2.5 h, 4 d. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  for (const [size, unit] of units) {
    if (Math.abs(seconds) >= size * 1.5) return `${count(Math.round((seconds / size) * 10) / 10)} ${unit}`;
  }
  return `${Math.round(seconds)} s`;
}

/** A duration of the API, 3600s, as people write it: 1h. */
export function written(duration) {
  const seconds = Number.parseFloat(duration);
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "m"]].find(([size]) => seconds && seconds % size === 0) || [1, "s"];
  return `${seconds / size}${unit}`;
}

/** 12,345 */
export function count(value) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en");
}

/** More than can be counted is told as such. */
export function bounded(value) {
  return value > 10000 ? "10,000+" : count(value);
}

/** So many significant digits. */
export function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(digits - 1);
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 6 });
}

/** +0.36: a sign that is seen. */
export function signed(value, places = 2) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(places)}`;
}

export const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)}%`);

/** The first 12 characters of an id, as the commands show it. */
export const short = (id) => id.slice(0, 12);
