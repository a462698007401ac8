// The list of projects, with a search and a start for each.

import { attribute, h, icon, later, text } from "./dom.js";
import { ago, count, exactly, parts } from "./format.js";
import { Longer } from "./longer.js";

const SKELETONS = 4;
const STEP = 100; // rows that are drawn before more is asked for

export class Projects {
  #section = document.getElementById("projects");
  #search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search projects", autocomplete: "off" });
  #rows = h("ul", { class: "rows" });
  #note = h("div", { class: "note", hidden: true });
  #total = h("span", { class: "badge" });
  #found = h("p", { class: "unseen", role: "status" });
  #list;
  #store;

  // `start(project)` opens the dialog, `choose(project)` shows its history, `retry()` asks again.
  constructor(store, { start, choose, retry }) {
    this.#store = store;
    this.#section.append(
      h("header", {}, h("h2", { id: "projects-title" }, "Projects ", this.#total),
        h("label", { class: "search" }, icon("search"), this.#search)),
      this.#note, this.#rows, this.#found,
    );
    this.#list = new Longer(this.#rows, STEP, (project) => new Row(project, { start, choose }));
    this.#search.addEventListener("input", () => this.update(store));
    this.#search.addEventListener("input", later(600, () => this.#tellFound()));
    this.retry = retry;
  }

  update(store) {
    const { state, list, error } = store.projects;
    const wanted = this.#wanted(list);
    attribute(this.#section, "aria-busy", state === "loading" ? "true" : null);
    text(this.#total, list.length ? String(list.length) : "");
    if (state === "loading") this.#loading();
    else this.#rows.querySelectorAll(".skeleton").forEach((row) => row.remove());
    const atWork = new Map(store.active().map((job) => [job.projectId, job]));
    this.#list.update(wanted.map((project) => ({ project, store, job: atWork.get(project.id) })), ({ project }) => project.id);
    this.#tellEmpty(state, list, wanted, error);
  }

  #wanted(list) {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const texts = ({ title, ownerEmail, type }) => `${title} ${ownerEmail ?? ""} ${type}`.toLowerCase();
    return list.filter((project) => words.every((word) => texts(project).includes(word)));
  }

  #loading() {
    if (this.#rows.children.length) return;
    this.#rows.append(...Array.from({ length: SKELETONS }, () => h("li", { class: "skeleton row", "aria-hidden": "true" })));
  }

  #tellFound() {
    if (this.#search.value) text(this.#found, `${count(this.#wanted(this.#store.projects.list).length, "project")} found`);
  }

  #tellEmpty(state, list, wanted, error) {
    this.#note.hidden = state === "loading" || wanted.length > 0;
    if (this.#note.hidden) return;
    if (state === "error") {
      fill(this.#note, error, icon("alert"), h("h3", {}, "The projects could not be loaded"), h("p", {}, error),
        h("button", { type: "button", onclick: this.retry }, "Try again"));
    } else if (list.length) {
      fill(this.#note, "search", icon("search"), h("h3", {}, "No project matches"),
        h("p", {}, "Search looks at titles, owners and types."));
    } else {
      fill(this.#note, "empty", icon("images"), h("h3", {}, "No projects yet"),
        h("p", {}, "Projects that are yours, or shared with you, appear here. To bring one in from a file:"),
        h("pre", { tabindex: "0" }, h("code", {}, "exportd import project project.json \\\n  --owner you@example.org")));
    }
  }
}

// Made anew only when it says something else: a live reader is not told the same twice.
function fill(note, key, ...children) {
  if (note.dataset.key === key) return;
  note.dataset.key = key;
  note.replaceChildren(...children);
}

class Row {
  #title;
  #meta = h("p", { class: "meta" });
  #start;

  constructor({ project }, { start, choose }) {
    this.#title = h("button", { class: "title", type: "button", onclick: () => choose(this.project) });
    this.#start = h("button", { type: "button", onclick: () => start(this.project) }, "Export");
    this.element = h("li", { class: "row", "data-project": project.id },
      h("div", {}, h("h3", {}, this.#title), this.#meta), this.#start);
  }

  update({ project, store, job }) {
    this.project = project;
    text(this.#title, project.title || "Untitled");
    attribute(this.#title, "title", "Show the exports of this project");
    attribute(this.#title, "aria-pressed", String(store.chosen === project.id));
    attribute(this.element, "data-chosen", store.chosen === project.id);
    attribute(this.#start, "aria-label", `Export ${project.title}`);
    attribute(this.#start, "aria-disabled", store.draining ? "true" : null);
    attribute(this.#meta, "title", project.updatedAt && `Changed ${exactly(project.updatedAt)}`);
    text(this.#meta, parts(
      count(project.imageCount, "image"),
      project.role === "owner" ? "Yours" : `Shared by ${project.ownerEmail ?? "somebody"}`,
      job ? doing(job) : project.updatedAt && ago(project.updatedAt),
    ));
  }
}

const doing = ({ status, progress }) => (status === "pending" ? "Export waits" : `Exporting, ${progress} %`);
