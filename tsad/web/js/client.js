// The API. The session's cookie goes along by itself; what changes something carries a header that no other site can send.

export class ApiError extends Error {
  constructor(status, title, detail, errors = []) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.errors = errors;
  }
}

export class ApiClient extends EventTarget {
  constructor(base = "api/v1") {
    super();
    this.base = base;
  }

  /** `query` holds values, or lists of them; what is empty is left out. */
  get(path, query = {}, signal = undefined) {
    const asked = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== null && one !== undefined && one !== "") asked.append(name, one);
      }
    }
    const text = asked.toString();
    return this.ask("GET", `${path}${text ? `?${text}` : ""}`, undefined, signal);
  }

  post(path, body) {
    return this.ask("POST", path, body);
  }

  put(path, body) {
    return this.ask("PUT", path, body);
  }

  delete(path) {
    return this.ask("DELETE", path);
  }

  async ask(method, path, body = undefined, signal = undefined) {
    const headers = { Accept: "application/json", "X-Tsad-Page": "1" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(`${this.base}${path}`, {
        method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "No answer", "tsad serve does not answer. Is it running?");
    }
    if (answer.status === 204) return null;
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) return told;
    const error = new ApiError(answer.status, told.title || answer.statusText, told.detail, told.errors);
    if (answer.status === 401 && path !== "/session") this.dispatchEvent(new Event("refused"));
    throw error;
  }
}

export const client = new ApiClient();
