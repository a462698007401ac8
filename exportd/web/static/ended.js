// The card of an export that has ended: what came of it, what it holds, and what happened to it.

import { attribute, busy, h, icon, text } from "./dom.js";
import { bytes, count, exactDuration, exactly, moment, plain } from "./format.js";
import { contents, stateOf } from "./jobs.js";
import { Timeline } from "./timeline.js";

const WORDS = { completed: "Completed", failed: "Failed", cancelled: "Cancelled", expired: "Expired" };
const ICONS = { completed: "check", failed: "alert", cancelled: "stop", expired: "clock" };

const CANCELLERS = {
  timeout: "It took longer than an export may take.",
  system: "exportd ended it: the service was stopped, or access to the project was taken back.",
};

// By whether the clean-up was completed, which only those know who were there when it ended.
const LEFT = {
  true: "Nothing of it is left, and nothing can be downloaded.",
  false: "Nothing can be downloaded. Its files are still being removed; the service sees to it.",
  unknown: "Nothing of it can be downloaded.",
};

const FAILURES = {
  INSUFFICIENT_SPACE: "The disk of the service has no room for the archive. Choose less, or try again later.",
  PERMISSION_DENIED: "The service may not read or write a file that it needs. Tell who runs it.",
  TIMEOUT: "It took longer than an export may take.",
  SOURCE_ERROR: "Nothing of the project could be exported: its images or its database cannot be read.",
  INTERRUPTED: "The service was interrupted while it worked. Export again.",
  UNKNOWN: "Something went wrong in the service; its log tells what. Export again, or tell who runs it.",
};

const MOST_WARNINGS = 100; // spelled out; the report in the archive has them all

let cards = 0;

export class EndedCard {
  #state = h("span", { class: "state" });
  #title = h("h3", { tabindex: "-1" });
  #when = h("time", { class: "when" });
  #line = h("p", { class: "line" });
  #holds = h("p", { class: "holds" });
  #warnings = h("details", { class: "warnings" }, h("summary", {}, icon("alert"), h("span", {})), h("ul", { tabindex: "0" }));
  #facts = h("dl", { class: "facts" });
  #timeline = new Timeline();
  #formats = null;
  #mine = false;
  #more;
  #details;
  #download;
  #link;
  #again;
  #remove;

  constructor({ job }, actions) {
    cards += 1;
    const id = `details-${cards}`;
    this.#details = h("div", { class: "details", id, hidden: true }, this.#facts, this.#timeline.element);
    this.#more = h("button", { class: "quiet", type: "button", "aria-controls": id, onclick: () => this.#toggle() },
      h("span", {}, "Details"), icon("down"));
    // A real link, which a browser may open in its own ways; a plain click gets the signed address.
    this.#download = h("a", { class: "button main" }, icon("download"), h("span", {}, "Download"));
    this.#download.addEventListener("click", (event) => event.preventDefault());
    busy(this.#download, () => actions.download(this.job));
    this.#link = busy(h("button", { class: "quiet", type: "button", title: "A link for 10 minutes that needs no login" },
      icon("link"), "Copy link"), () => actions.copyLink(this.job));
    this.#again = h("button", { type: "button", onclick: () => actions.again(this.job) }, icon("again"), "Export again");
    this.#remove = h("button", { class: "quiet icon-only", type: "button", title: "Remove",
      onclick: () => actions.remove(this.job) }, icon("bin"));
    this.actions = actions;
    this.element = h("li", { class: "card over", "data-job": job.id },
      h("header", {}, this.#state, this.#title, this.#when), this.#line, this.#holds, this.#warnings,
      h("footer", {}, this.#download, this.#link, this.#again, this.#more, this.#remove), this.#details);
  }

  update({ job, store }) {
    const known = this.job === job && this.#formats === store.formats && this.#facts.children.length;
    this.job = job;
    this.#formats = store.formats;
    this.#mine = store.mine.has(job.id);
    const state = stateOf(job);
    if (this.element.dataset.state !== state) this.#become(state);
    const end = job.completedAt ?? job.cancelledAt;
    text(this.#title, job.projectName || "Export");
    text(this.#when, end ? moment(end) : `Started ${moment(job.startedAt ?? job.createdAt)}`);
    attribute(this.#when, "datetime", end);
    attribute(this.#when, "title", end && exactly(end));
    text(this.#line, this.#sentence(state));
    text(this.#holds, this.#holding());
    attribute(this.#download, "href", state === "completed" ? this.actions.address(job) : null);
    for (const [button, what] of [[this.#download, "Download"], [this.#link, "Copy link of"], [this.#again, "Export again:"],
      [this.#more, "Details of"], [this.#remove, "Remove"]]) attribute(button, "aria-label", `${what} ${job.projectName}`);
    this.#warn(job.warnings);
    if (!known) this.#tellFacts(state);
  }

  #become(state) {
    attribute(this.element, "data-state", state);
    this.#state.replaceChildren(icon(ICONS[state]), WORDS[state]);
    for (const part of [this.#download, this.#link]) part.hidden = state !== "completed";
    this.#again.hidden = state === "completed";
    this.#facts.replaceChildren();
    attribute(this.#more, "aria-expanded", String(!this.#details.hidden));
  }

  #sentence(state) {
    const { note, fileSize, expiresAt, cancelledBy, cleanupCompleted, error, errorCode } = this.job;
    if (note) return note;
    if (state === "completed") return `${bytes(fileSize)} · kept until ${moment(expiresAt)}`;
    if (state === "expired") return `The archive was kept until ${moment(expiresAt)} and is gone.`;
    if (state === "failed") return error ?? FAILURES[errorCode] ?? FAILURES.UNKNOWN;
    return `${CANCELLERS[cancelledBy] ?? ""} ${LEFT[cleanupCompleted] ?? LEFT.unknown}`.trim();
  }

  #holding() {
    const { options } = this.job;
    if (!this.#formats) return "\u00a0"; // its names come in a moment
    const chosen = options.selectedImageIds && `${count(options.selectedImageIds.length, "image")} chosen`;
    return [...contents(options, this.#formats), chosen].filter(Boolean).join(", ");
  }

  #warn(warnings) {
    this.#warnings.hidden = !warnings.length;
    const [summary, list] = this.#warnings.children;
    text(summary.lastElementChild, count(warnings.length, "warning"));
    const rest = warnings.length - MOST_WARNINGS;
    const told = rest > 0 ? [...warnings.slice(0, MOST_WARNINGS), `${plain(rest)} more stand in export_report.json, in the archive.`] : warnings;
    if (list.children.length !== told.length) list.replaceChildren(...told.map((sentence) => h("li", {}, sentence)));
  }

  #tellFacts(state) {
    const { job } = this;
    const sum = job.sha256 && h("span", { class: "sum" }, h("code", { title: job.sha256 }, job.sha256),
      h("button", { class: "quiet icon-only", type: "button", "aria-label": "Copy the checksum",
        onclick: () => this.actions.copy("Checksum", job.sha256) }, icon("copy")));
    const took = job.startedAt && job.completedAt && (Date.parse(job.completedAt) - Date.parse(job.startedAt)) / 1000;
    const facts = [
      ["File", job.fileName],
      ["Size", job.fileSize && `${bytes(job.fileSize)} (${count(job.fileSize, "byte")})`],
      ["SHA-256", sum],
      ["Holds", this.#holding()],
      ["Scale", job.options.pixelToMicrometerScale && `${job.options.pixelToMicrometerScale} µm per pixel`],
      ["Took", took !== null && exactDuration(took)],
      [state === "expired" ? "Was kept until" : "Kept until", job.expiresAt && exactly(job.expiresAt)],
      ["Got to", !job.completedAt && `${job.progress} %`],
      ["Error", job.errorCode && h("code", {}, job.errorCode)],
      ["Export", h("code", {}, job.id)],
    ].filter(([, value]) => value);
    this.#facts.replaceChildren(...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  #toggle() {
    this.#details.hidden = !this.#details.hidden;
    attribute(this.#more, "aria-expanded", String(!this.#details.hidden));
    if (!this.#details.hidden) this.#timeline.load(this.job, this.#mine);
  }
}
