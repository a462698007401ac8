// What stands around the two lists: the state of the line, the banner, the switch of narrow screens, the theme.

import { attribute, h, icon, text } from "./dom.js";
import { say } from "./notices.js";

const LINES = {
  connecting: ["Connecting", "Asking exportd what there is."],
  live: ["Live", "Changes are shown as they happen."],
  stream: ["Live", "Changes are shown as they happen, by Server-Sent Events."],
  polling: ["Every 2 s", "No line for events can be opened here: the page asks every other second."],
  lost: ["Offline", "The connection is lost. The page tries again by itself."],
};

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const NAMES = { auto: "as the system has it", light: "light", dark: "dark" };
const ICONS = { auto: "auto", light: "sun", dark: "moon" };

export class Frame {
  #link = document.getElementById("link");
  #banner = document.getElementById("banner");
  #views = {};
  #before = "connecting";
  #retry;
  #message;

  constructor(store, { retry }) {
    this.#makeTheme();
    this.#makeViews();
    this.#retry = h("button", { type: "button", onclick: retry }, "Try now");
    this.#message = h("p", {});
    this.#banner.append(icon("alert"), this.#message, this.#retry);
    setInterval(() => this.#tick(store), 1000);
  }

  update(store) {
    const { mode } = store.link;
    const [word, meaning] = LINES[mode];
    attribute(this.#link, "data-mode", mode);
    attribute(this.#link, "title", meaning);
    text(this.#link.lastElementChild, word);
    this.#tell(mode);
    this.#tick(store);
    const active = store.active().filter(({ id }) => store.mine.has(id)).length;
    text(this.#views.exports.lastElementChild, active ? String(active) : "");
    attribute(document.body, "data-logged-out", store.loggedOut);
    document.title = active ? `(${active}) exportd` : "exportd";
  }

  show(view) {
    document.body.dataset.view = view;
    for (const [name, button] of Object.entries(this.#views)) attribute(button, "aria-pressed", String(name === view));
  }

  // A line that comes and goes within a moment is nobody's concern; one that is lost, and one that is back, is.
  #tell(mode) {
    if (mode === this.#before) return;
    if (mode === "lost" && this.#before !== "connecting") say("The connection is lost. Trying again.");
    if (this.#before === "lost" && mode !== "lost") say("Connected again. Everything is up to date.");
    this.#before = mode;
  }

  #tick({ link, draining, loggedOut, exports }) {
    const lost = link.mode === "lost" && !loggedOut && exports.state === "ready"; // else the lists say so themselves
    const shown = lost || (draining && !loggedOut);
    this.#banner.hidden = !shown;
    if (!shown) return;
    attribute(this.#banner, "data-kind", lost ? "lost" : "draining");
    this.#retry.hidden = !lost;
    const seconds = Math.max(0, Math.ceil((link.until - Date.now()) / 1000));
    text(this.#message, lost
      ? `The connection to exportd is lost; what you see may be old. ${seconds ? `Next try in ${seconds} s.` : "Trying again …"}`
      : "exportd is stopping: running exports may still finish, new ones cannot be started. Come back in a minute.");
  }

  #makeViews() {
    for (const [name, label] of [["projects", "Projects"], ["exports", "Exports"]]) {
      const button = h("button", { type: "button", onclick: () => this.show(name) }, label, h("span", { class: "badge" }));
      document.getElementById("views").append(button);
      this.#views[name] = button;
    }
    this.show("projects");
  }

  #makeTheme() {
    const button = document.getElementById("theme");
    const root = document.documentElement;
    const draw = () => {
      const theme = root.dataset.theme in NEXT ? root.dataset.theme : "auto";
      button.replaceChildren(icon(ICONS[theme]));
      const label = `Colours: ${NAMES[theme]}. Change to ${NAMES[NEXT[theme]]}.`;
      attribute(button, "aria-label", label);
      attribute(button, "title", label);
    };
    button.addEventListener("click", () => {
      root.dataset.theme = NEXT[root.dataset.theme ?? "auto"];
      try {
        localStorage.setItem("exportd.theme", root.dataset.theme);
      } catch {
        // Storage is off: it holds as long as the page is open.
      }
      draw();
    });
    draw();
  }
}
