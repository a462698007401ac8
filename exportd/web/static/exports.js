// The exports: those at work first, then those that ended. Of all our projects, or everybody's of one.

import { ActiveCard } from "./active.js";
import { MOST_EXPORTS, MOST_HISTORY } from "./api.js";
import { attribute, h, icon, Keyed, text } from "./dom.js";
import { EndedCard } from "./ended.js";
import { isActive } from "./jobs.js";
import { Longer } from "./longer.js";

const SKELETONS = 2;
const STEP = 20; // cards that are drawn before more is asked for

export class Exports {
  #section = document.getElementById("exports");
  #filter = h("p", { class: "filter" });
  #name = h("strong", {});
  #active = h("ul", { class: "cards" });
  #ended = h("ul", { class: "cards ended" });
  #before = h("h3", { class: "divider" }, "Earlier");
  #most = h("p", { class: "most quiet-text", hidden: true });
  #note = h("div", { class: "note", hidden: true });
  #running;
  #over;

  // `actions` are what the cards' buttons do, besides `all()`, which takes the filter away, `begin()`, which exports the
  // chosen project, and `retry()`.
  constructor(actions) {
    this.actions = actions;
    this.#filter.append("Everybody's exports of ", this.#name,
      h("button", { class: "quiet", type: "button", onclick: actions.all }, icon("cross"), "Show mine of all projects"));
    this.#section.append(h("header", {}, h("h2", { id: "exports-title" }, "Exports")), this.#filter, this.#note,
      this.#active, this.#before, this.#ended, this.#most);
    this.#running = new Keyed(this.#active, (item) => new ActiveCard(item, actions));
    this.#over = new Longer(this.#ended, STEP, (item) => new EndedCard(item, actions));
  }

  update(store) {
    const { state, error } = store.chosen ? store.history : store.exports;
    const jobs = store.shown();
    const items = (active) => jobs.filter((job) => isActive(job) === active).map((job) => ({ job, store }));
    const loading = state === "loading" && !jobs.length;
    attribute(this.#section, "aria-busy", loading ? "true" : null);
    this.#filter.hidden = !store.chosen;
    text(this.#name, store.project(store.chosen)?.title ?? "this project");
    this.#running.update(items(true), ({ job }) => job.id);
    this.#over.update(items(false), ({ job }) => job.id);
    this.#before.hidden = !this.#active.children.length || !this.#ended.children.length;
    this.#skeletons(loading);
    this.#tellMost(jobs.length, store.chosen ? MOST_HISTORY : MOST_EXPORTS);
    this.#tellEmpty(state, error, jobs.length, loading, store);
  }

  // The card's heading gets the focus: where somebody looks after a start, or after a cancel.
  focus(id) {
    const card = this.#running.get(id) ?? this.#over.get(id);
    card?.element.querySelector("h3")?.focus({ preventScroll: true });
    card?.element.scrollIntoView({ block: "nearest" });
  }

  #skeletons(loading) {
    const there = this.#active.querySelectorAll(".skeleton");
    if (!loading) there.forEach((card) => card.remove());
    else if (!there.length) {
      this.#active.append(...Array.from({ length: SKELETONS }, () => h("li", { class: "skeleton card", "aria-hidden": "true" })));
    }
  }

  #tellMost(jobs, most) {
    this.#most.hidden = jobs < most;
    text(this.#most, `Only the newest ${most} are listed here.`);
  }

  #tellEmpty(state, error, jobs, loading, store) {
    this.#note.hidden = loading || jobs > 0;
    const key = state === "error" ? error : store.chosen ?? "none";
    if (this.#note.hidden || this.#note.dataset.key === key) return;
    this.#note.dataset.key = key;
    this.#note.replaceChildren(...(state === "error" ? this.#failure(error) : this.#nothing(store)));
  }

  #failure(error) {
    return [icon("alert"), h("h3", {}, "The exports could not be loaded"), h("p", {}, error),
      h("button", { type: "button", onclick: this.actions.retry }, "Try again")];
  }

  #nothing({ chosen }) {
    const watch = "can watch it here, cancel it at any moment, and download the archive.";
    if (!chosen) return [icon("archive"), h("h3", {}, "No exports yet"), h("p", {}, `Choose Export beside a project. You ${watch}`)];
    return [icon("archive"), h("h3", {}, "Nobody has exported this project yet"), h("p", {}, `Whoever does ${watch}`),
      h("button", { type: "button", onclick: this.actions.begin }, "Export it")];
  }
}
