// What happened to an export: its audit trail, as a line in time.

import { api } from "./api.js";
import { h, icon } from "./dom.js";
import { exactDuration, exactly, exactlyAfter, parts } from "./format.js";

const REASONS = {
  submitted: "Asked for",
  started: "Began to work",
  committed: "Completed: the archive is on the disk",
  user_cancellation: "Cancelled by a person",
  shutdown: "Cancelled: the service was stopped",
  timeout: "Cancelled: it took too long",
  access_revoked: "Cancelled: access to the project was taken back",
  source_error: "Failed: the project could not be read",
  insufficient_space: "Failed: the disk has no room",
  internal_error: "Failed: something went wrong in the service",
  interrupted: "Failed: the service was interrupted",
};

const ICONS = { pending: "clock", processing: "archive", completed: "check", failed: "alert", cancelled: "stop" };

export class Timeline {
  #list = h("ol", { class: "timeline" });

  constructor() {
    this.element = h("div", {}, h("h4", {}, "What happened"), this.#list);
  }

  // `mine` tells whether it was the reader who started it.
  async load(job, mine) {
    if (!this.#list.children.length) this.#list.append(h("li", { class: "quiet-text" }, "Loading …"));
    try {
      const rows = await api.audit(job);
      this.#list.replaceChildren(...rows.map((row, place) => entry(row, rows[place - 1], job, mine)));
    } catch (error) {
      this.#list.replaceChildren(h("li", { class: "quiet-text" }, error.message));
    }
  }
}

function entry({ to, reason, actor, time }, before, job, mine) {
  const since = before ? (Date.parse(time) - Date.parse(before.time)) / 1000 : null;
  const when = h("time", { datetime: time, title: exactly(time) }, before ? exactlyAfter(before.time, time) : exactly(time));
  const who = actor === "system" ? "by the service" : actor === job.userId ? (mine ? "by you" : "by who started it") : "by somebody else";
  return h("li", { "data-state": to }, h("span", { class: "knob" }, icon(ICONS[to])),
    h("p", {}, REASONS[reason] ?? reason),
    h("p", { class: "quiet-text" }, when, " · ", parts(who, before && `${exactDuration(since)} later`)));
}
