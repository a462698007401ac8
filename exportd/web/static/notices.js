// What the page says aloud and in passing. One live region for all, and only for what somebody has to know: the start and
// the end of an export, and the line. Numbers that run are not for it: who wants to hear them goes to the bar.

import { h, icon } from "./dom.js";

const STAYS = 6000; // ms
const MOST = 3; // at once

const ICONS = { good: "check", bad: "alert", neutral: "stop" };

const announcer = document.getElementById("announcer");
const toasts = document.getElementById("toasts");

export function say(sentence) {
  announcer.append(h("p", {}, sentence));
  while (announcer.children.length > MOST) announcer.firstElementChild.remove();
}

export function toast(sentence, kind = "good") {
  say(sentence);
  const close = h("button", { class: "quiet icon-only", type: "button", "aria-label": "Dismiss" }, icon("cross"));
  const element = h("div", { class: "toast", "data-kind": kind },
    icon(ICONS[kind]), h("span", {}, sentence), close);
  const gone = () => element.remove();
  close.addEventListener("click", gone);
  setTimeout(gone, kind === "bad" ? 2 * STAYS : STAYS);
  toasts.append(element);
  while (toasts.children.length > MOST) toasts.firstElementChild.remove();
}

// Shows an error of a call where nothing nearer can.
export const complain = (error) => toast(error.message, "bad");

export async function copy(what, value) {
  try {
    await navigator.clipboard.writeText(value);
    toast(`${what} copied`);
  } catch {
    const field = h("textarea", { class: "unseen", "aria-hidden": "true" });
    field.value = value; // pages without a secure address have no clipboard
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (done) toast(`${what} copied`);
    else toast(`${what} could not be copied`, "bad");
  }
}

