// The whole: who is there, which page is shown, and what every page has.

import { client } from "./client.js";
import { announce, fill, h } from "./dom.js";
import { help, listen } from "./keys.js";
import { live } from "./live.js";
import { failed, loading } from "./parts.js";
import { here, link } from "./route.js";
import { themeButton } from "./theme.js";
import { login } from "./pages/login.js";
import { NAVIGATION, pageOf } from "./pages/index.js";

const main = document.getElementById("main");
const SIGNED = "tsad-signed-in"; // no secret: whether it is worth asking who is there
let leaving = null;
let me = null;

/** Show the page of the address. A page gets what it needs, and a signal that ends when another is shown. */
async function show({ keepFocus = false } = {}) {
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { path, query } = here();
  const page = pageOf(path);
  document.title = `${page.title} · tsad`;
  for (const item of document.querySelectorAll("#nav a")) {
    const current = item.dataset.page === (path[0] === "entity" ? "entities" : path[0] || "");
    if (current) {
      item.setAttribute("aria-current", "page");
      item.parentElement.scrollLeft = item.offsetLeft - item.parentElement.clientWidth / 2; // on a phone not all have room
    } else item.removeAttribute("aria-current");
  }
  fill(main, h("h1", {}, page.title), loading(page.title.toLowerCase()));
  if (!keepFocus) main.focus({ preventScroll: true });
  scrollTo(0, 0);
  try {
    await page.show({ main, path, query, signal, me });
    if (signal.aborted) return;
    document.title = `${main.querySelector("h1")?.textContent || page.title} · tsad`;
    announce(`${page.title} loaded`);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted || error.status === 401) return;
    fill(main, h("h1", {}, page.title), failed(error, () => show()));
    if (!error.status) console.warn(error.message);
  }
  main.dataset.ready = String(Number(main.dataset.ready || 0) + 1);
}

function signIn(reason = "") {
  leaving?.abort();
  live.stop();
  me = null;
  localStorage.removeItem(SIGNED);
  document.getElementById("top").hidden = true;
  login(main, reason, begin);
}

async function begin(who) {
  me = who;
  localStorage.setItem(SIGNED, "1");
  document.getElementById("top").hidden = false;
  document.getElementById("leave").title = `Signed in as ${me.name} (${me.role})`;
  live.start();
  await show({ keepFocus: true });
}

function notRefused(error) {
  if (error.status !== 401) throw error;
  return null;
}

/** A link may bring a token, behind "#" where no server sees it; it is used once and taken out of the address. */
async function start() {
  const brought = /^#token=([\w-]+)$/.exec(location.hash);
  if (brought) history.replaceState(null, "", `${location.pathname}#/`);
  try {
    const who = localStorage.getItem(SIGNED) ? await client.get("/me").catch(notRefused) : null;
    if (who) await begin(who);
    else if (brought) await begin(await client.post("/session", { token: brought[1] }));
    else signIn();
  } catch (error) {
    if (error.status) signIn(error.message);
    else fill(main, failed(error, start));
  }
}

fill(document.getElementById("nav"), NAVIGATION.map(([name, text]) => h("a", { href: link(name ? [name] : []), "data-page": name }, text)));
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
document.getElementById("leave").addEventListener("click", async () => { await client.delete("/session"); signIn("You are signed out."); });
document.getElementById("keys").addEventListener("click", help);
themeButton(document.getElementById("theme"));
listen();
live.addEventListener("state", ({ detail }) => {
  const dot = document.getElementById("live");
  dot.className = `live ${detail}`;
  dot.textContent = { live: "Live", connecting: "Connecting …", off: "" }[detail];
});
client.addEventListener("refused", () => signIn(me ? "Your session has ended." : ""));
addEventListener("hashchange", () => me && show());
start();
