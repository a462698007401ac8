// The choice of images: all of them, or some, by their small pictures.

import { api, thumbnailPath } from "./api.js";
import { h, icon, later, text } from "./dom.js";
import { count, plain } from "./format.js";

const PAGE = 60;

export class Picker {
  #project;
  #chosen = new Set();
  #grid = h("div", { class: "thumbs" });
  #search = h("input", { type: "search", placeholder: "Search by name", "aria-label": "Search images", autocomplete: "off" });
  #more = h("button", { class: "quiet", type: "button", hidden: true, onclick: () => this.#load() }, "Show more");
  #tally = h("p", { class: "tally", role: "status" });
  #panel;
  #radios;
  #asking = new AbortController();
  #loaded = 0;

  // `changed()` is called whenever the choice is another one.
  constructor(project, selected, changed) {
    this.#project = project;
    this.changed = changed;
    selected?.forEach((id) => this.#chosen.add(id));
    this.#panel = h("div", { class: "picker", hidden: !selected },
      h("div", { class: "tools" }, h("label", { class: "search" }, icon("search"), this.#search),
        h("button", { class: "quiet", type: "button", onclick: () => this.#setShown(true) }, "Choose all shown"),
        h("button", { class: "quiet", type: "button", onclick: () => this.#clear() }, "Clear"), this.#tally),
      this.#grid, this.#more);
    this.#radios = ["all", "some"].map((value) => h("input", { type: "radio", name: "which", value,
      checked: (value === "some") === Boolean(selected), onchange: () => this.#switch() }));
    this.element = h("fieldset", {}, h("legend", {}, "Which images"),
      h("div", { class: "segmented" },
        h("label", {}, this.#radios[0], h("span", {}, `All ${count(project.imageCount, "image")}`)),
        h("label", {}, this.#radios[1], h("span", {}, "Only some"))),
      this.#panel);
    this.#search.addEventListener("input", later(250, () => this.#restart()));
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
    this.#loaded = 0;
    this.#grid.replaceChildren();
    this.#load();
  }

  async #load() {
    const { signal } = this.#asking;
    this.#more.hidden = true;
    const query = { offset: this.#loaded, limit: PAGE, search: this.#search.value.slice(0, 200) };
    try {
      const { total, images } = await api.images(this.#project.id, query, signal);
      this.#loaded += images.length;
      this.#grid.append(...images.map((image) => this.#thumb(image)));
      this.#more.hidden = this.#loaded >= total;
      text(this.#more, `Show more (${plain(total - this.#loaded)} left)`);
      if (!total) this.#grid.append(h("p", { class: "quiet-text" }, "No image has this in its name."));
    } catch (error) {
      if (error.name !== "AbortError") this.#grid.append(h("p", { class: "quiet-text" }, error.message));
    }
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

  #setShown(on) {
    for (const box of this.#grid.querySelectorAll("input")) {
      box.checked = on;
      if (on) this.#chosen.add(box.value);
    }
    this.#tell();
    this.changed();
  }

  #clear() {
    this.#chosen.clear();
    this.#setShown(false);
  }

  #tell() {
    text(this.#tally, `${plain(this.#chosen.size)} of ${plain(this.#project.imageCount)} chosen`);
  }
}
