// The card of an export at work: a bar for all of it, one for each stage, and the way out.

import { attribute, busy, h, icon, Keyed, text } from "./dom.js";
import { parts, plain, rate, remaining } from "./format.js";
import { rateOf, stagesOf, stateOf } from "./jobs.js";

const PER_IMAGE = new Set(["images", "visualizations"]); // other stages count an image once for each format

export class ActiveCard {
  #title = h("h3", { tabindex: "-1" });
  #who = h("span", { class: "who" });
  #what = h("span", {});
  #item = h("span", { class: "item" });
  #percent = h("span", { class: "percent" });
  #bar = bar("large");
  #pace = h("p", { class: "pace" });
  #stages = h("ol", { class: "stages", "aria-label": "Stages" });
  #rows = new Keyed(this.#stages, ({ stage }) => new Stage(stage.label));
  #cancel;

  constructor({ job }, { cancel }) {
    this.#cancel = busy(h("button", { class: "danger", type: "button" }, icon("stop"), h("span", {}, "Cancel")),
      () => cancel(this.job));
    this.element = h("li", { class: "card active", "data-job": job.id },
      h("header", {}, h("div", {}, this.#title, this.#who), this.#cancel),
      h("div", { class: "overall" }, h("p", { class: "what" }, this.#what, this.#item), this.#percent, this.#bar, this.#pace),
      this.#stages);
  }

  update({ job, store }) {
    this.job = job;
    const state = stateOf(job);
    attribute(this.element, "data-state", state);
    text(this.#title, job.projectName || "Export");
    text(this.#who, store.mine.has(job.id) ? "" : "Started by somebody else");
    attribute(this.#cancel, "aria-label", state === "cancelling" ? null : `Cancel the export of ${job.projectName}`);
    text(this.#cancel.lastElementChild, state === "cancelling" ? "Cancelling …" : "Cancel");
    text(this.#what, this.#doing(state));
    text(this.#item, (state === "processing" && job.stageProgress?.currentItem) || "");
    text(this.#percent, `${job.progress} %`);
    fill(this.#bar, job.progress / 100, `Export of ${job.projectName}`);
    text(this.#pace, this.#speed(state));
    this.#rows.update(stagesOf(job).map((stage) => ({ stage, isPresent: stage.id === job.stage })), ({ stage }) => stage.id);
  }

  #doing(state) {
    const { queuePosition, message } = this.job;
    if (state === "cancelling") return "Stopping, and removing what there is of it";
    if (state === "pending") return queuePosition ? `Waiting, number ${queuePosition} in the queue` : "About to start";
    return message || "Starting";
  }

  #speed(state) {
    const each = rateOf(this.job);
    if (state !== "processing") return "\u00a0";
    const left = this.job.remaining;
    const what = PER_IMAGE.has(this.job.stage) ? "images" : "steps";
    return parts(each && `${rate(each)} ${what} a second`, Number.isFinite(left) && remaining(left)) || "\u00a0";
  }
}

class Stage {
  #bar = bar("small");
  #count = h("span", { class: "count" });

  constructor(label) {
    this.label = label;
    this.element = h("li", {}, h("span", { class: "label" }, label), this.#bar, this.#count);
  }

  update({ stage: { share, current, total }, isPresent }) {
    attribute(this.element, "data-stage", share >= 1 ? "done" : isPresent ? "present" : "coming");
    fill(this.#bar, share, this.label);
    if (share >= 1) this.#done();
    else text(this.#count, total > 1 ? `${plain(current)} / ${plain(total)}` : "");
  }

  #done() {
    if (this.#count.querySelector(".icon")) return;
    this.#count.replaceChildren(icon("check"), h("span", { class: "unseen" }, "done"));
  }
}

function bar(size) {
  return h("div", { class: `bar ${size}`, role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" },
    h("div", { class: "filled" }));
}

function fill(element, share, label) {
  const percent = Math.round(share * 100);
  attribute(element, "aria-label", label);
  attribute(element, "aria-valuenow", percent);
  element.firstElementChild.style.setProperty("--share", share);
}
