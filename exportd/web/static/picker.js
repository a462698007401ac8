// The choice of images: all of them, or some, by their small pictures.

import { api, thumbnailPath } from "./api.js";
import { attribute, busy, h, icon, later, text } from "./dom.js";
import { count, plain } from "./format.js";

const PAGE = 100; // images that the daemon names at once

export class Picker {
  #project;
  #chosen = new Set();
  #grid = h("div", { class: "thumbs" });
  #search = h("input", { type: "search", placeholder: "Search by name", "aria-label": "Search images", autocomplete: "off" });
  #more = busy(h("button", { class: "quiet", type: "button", hidden: true }, "Show more"), () => this.#load());
  #all = busy(h("button", { class: "quiet", type: "button" }, "Choose all"), () => this.#chooseAll());
  #tally = h("p", { class: "tally", role: "status" });
  #panel;
  #radios;
  #asking = new AbortController();
  #loaded = 0;
  #sought = "";
  #total = 0; // that have what is sought in their names

  // `changed()` is called whenever the choice is another one.
  constructor(project, selected, changed) {
    this.#project = project;
    this.changed = changed;
    selected?.forEach((id) => this.#chosen.add(id));
    this.#panel = h("div", { class: "picker", hidden: !selected },
      h("div", { class: "tools" }, h("label", { class: "search" }, icon("search"), this.#search),
        this.#all, h("button", { class: "quiet", type: "button", onclick: () => this.#clear() }, "Choose none"), this.#tally),
      this.#grid, this.#more);
    this.#radios = ["all", "some"].map((value) => h("input", { type: "radio", name: "which", value,
      checked: (value === "some") === Boolean(selected), onchange: () => this.#switch() }));
    this.element = h("fieldset", {}, h("legend", {}, "Which images"),
      h("div", { class: "segmented" },
        h("label", {}, this.#radios[0], h("span", {}, `All ${count(project.imageCount, "image")}`)),
        h("label", {}, this.#radios[1], h("span", {}, "Only some"))),
      this.#panel);
    this.#search.addEventListener("input", later(250, () => this.#restart()));
    // Neither is a choice: the first is no wish to start the export, the second changes nothing of it.
    this.#search.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
    this.#search.addEventListener("input", (event) => event.stopPropagation());
    this.#tell();
    if (selected) this.#restart();
  }

  // Ids of the chosen images; null for all.
  get value() {
    return this.#radios[1].checked ? [...this.#chosen] : null;
  }

  close() {
    this.#asking.abort();
  }

  #switch() {
    this.#panel.hidden = !this.#radios[1].checked;
    if (!this.#panel.hidden && !this.#loaded) this.#restart();
    this.changed();
  }

  #restart() {
    this.#asking.abort();
    this.#asking = new AbortController();
    this.#sought = this.#search.value.slice(0, 200);
    this.#loaded = 0;
    return this.#load();
  }

  // What is there stays until the answer comes.
  async #load() {
    const first = !this.#loaded;
    attribute(this.#grid, "aria-busy", "true");
    try {
      const { total, images } = await this.#ask(this.#loaded, this.#asking.signal);
      if (first) this.#grid.replaceChildren();
      this.#grid.append(...images.map((image) => this.#thumb(image)));
      this.#loaded += images.length;
      this.#found(total);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#grid.append(h("p", { class: "quiet-text" }, error.message));
    }
    attribute(this.#grid, "aria-busy", null);
  }

  #ask(offset, signal) {
    return api.images(this.#project.id, { offset, limit: PAGE, search: this.#sought }, signal);
  }

  #found(total) {
    this.#total = total;
    this.#more.hidden = this.#loaded >= total;
    text(this.#more, `Show more (${plain(total - this.#loaded)} left)`);
    text(this.#all, this.#sought ? `Choose all ${plain(total)} found` : `Choose all ${plain(total)}`);
    this.#all.hidden = !total;
    if (!total) this.#grid.append(h("p", { class: "quiet-text" }, "No image has this in its name."));
  }

  #thumb({ id, name, width, height }) {
    const box = h("input", { type: "checkbox", value: id, onchange: () => this.#set(id, box.checked) });
    box.checked = this.#chosen.has(id);
    const picture = h("img", { src: thumbnailPath(this.#project.id, id), alt: "", loading: "lazy", decoding: "async" });
    const frame = h("span", { class: "frame" }, icon("images"), picture, h("span", { class: "mark" }, icon("check")));
    picture.addEventListener("error", () => picture.remove()); // what is behind it says: there is no picture
    return h("label", { class: "thumb", title: width ? `${name}, ${width} × ${height}` : name }, box, frame,
      h("span", { class: "name" }, name));
  }

  #set(id, on) {
    if (on) this.#chosen.add(id);
    else this.#chosen.delete(id);
    this.#tell();
    this.changed();
  }

  // Those too of which no picture is drawn. Another search ends it with what is chosen so far.
  async #chooseAll() {
    const { signal } = this.#asking;
    try {
      for (let offset = 0; offset < this.#total; offset += PAGE) {
        const { images } = await this.#ask(offset, signal);
        images.forEach(({ id }) => this.#chosen.add(id));
      }
      this.#mark();
    } catch (error) {
      this.#mark();
      if (error.name !== "AbortError") text(this.#tally, error.message);
    }
  }

  #clear() {
    this.#chosen.clear();
    this.#mark();
  }

  #mark() {
    for (const box of this.#grid.querySelectorAll("input")) box.checked = this.#chosen.has(box.value);
    this.#tell();
    this.changed();
  }

  #tell() {
    text(this.#tally, `${plain(this.#chosen.size)} of ${plain(this.#project.imageCount)} chosen`);
  }
}
