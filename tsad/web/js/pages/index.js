// The pages. A new one is a module with a title and `show`, and a line here.

import * as alert from "./alert.js";
import * as alerts from "./alerts.js";
import * as entities from "./entities.js";
import * as entity from "./entity.js";
import * as incident from "./incident.js";
import * as incidents from "./incidents.js";
import * as models from "./models.js";
import * as overview from "./overview.js";
import * as review from "./review.js";
import * as settings from "./settings.js";
import { empty } from "../parts.js";
import { fill, h } from "../dom.js";

export const NAVIGATION = [["", "Overview"], ["incidents", "Incidents"], ["alerts", "Alerts"], ["review", "Review"], ["entities", "Entities"], ["models", "Models"], ["settings", "Settings"]];

const PAGES = { "": overview, incidents, alerts, entities, entity, models, review, settings };
const NOWHERE = {
  title: "No such page",
  show: ({ main }) => fill(main, h("h1", {}, "No such page"), empty("There is nothing at this address.", "", h("a", { href: "#/" }, "To the overview"))),
};

/** The page of an address. */
export function pageOf(path) {
  if (path[0] === "alerts" && path.length === 2) return alert;
  if (path[0] === "incidents" && path.length === 2) return incident;
  if (path[0] === "settings" && settings.has(path)) return settings;
  return path.length < 2 ? PAGES[path[0] || ""] || NOWHERE : NOWHERE;
}
