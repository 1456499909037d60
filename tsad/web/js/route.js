// Where one is: the page and its settings are the part of the address behind "#", so that a link shows the same view.

/** {path: ["alerts", ID], query: {state: ["open"]}} of the address. */
export function here() {
  const [path, text] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const query = {};
  for (const [name, value] of new URLSearchParams(text || "")) (query[name] ??= []).push(value);
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query };
}

/** The address of a page. */
export function link(path, query = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") asked.append(name, one);
    }
  }
  const text = asked.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export const go = (path, query) => { location.hash = link(path, query); };

/** The same page with some settings changed. */
export function withQuery(changes) {
  const { path, query } = here();
  return link(path, { ...query, ...changes });
}
