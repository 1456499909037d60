// Light, dark, or what the system has. Charts hear of a change by the event "theme".

const CHOICES = ["system", "light", "dark"];
const dark = matchMedia("(prefers-color-scheme: dark)");

export const themes = new EventTarget();

export const chosen = () => localStorage.getItem("tsad-theme") || "system";

export function choose(theme) {
  if (theme === "system") {
    localStorage.removeItem("tsad-theme");
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem("tsad-theme", theme);
    document.documentElement.dataset.theme = theme;
  }
  themes.dispatchEvent(new Event("theme"));
}

/** A button that goes through the choices. */
export function themeButton(button) {
  const show = () => {
    button.textContent = { system: "Auto", light: "Light", dark: "Dark" }[chosen()];
    button.setAttribute("aria-label", `Theme: ${chosen()}. Change it`);
    button.title = "Theme: follow the system, light, dark";
  };
  button.addEventListener("click", () => {
    choose(CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length]);
    show();
  });
  dark.addEventListener("change", () => themes.dispatchEvent(new Event("theme")));
  show();
}

/** A colour of the style sheet, as it is now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
