// A list of which only the first are drawn until more is asked for: a page stays quick with thousands of rows.

import { h, Keyed, text } from "./dom.js";
import { plain } from "./format.js";

export class Longer {
  #list;
  #step;
  #drawn;
  #items = [];
  #keyOf;
  #more = h("button", { class: "quiet more", type: "button", hidden: true, onclick: () => this.#draw() });

  // Parts are those of `Keyed`. The button follows `parent`, which has to stand in the document already.
  constructor(parent, step, make) {
    this.#list = new Keyed(parent, make);
    this.#step = this.#drawn = step;
    parent.after(this.#more);
  }

  get(key) {
    return this.#list.get(key);
  }

  update(items, keyOf) {
    this.#items = items;
    this.#keyOf = keyOf;
    this.#list.update(items.slice(0, this.#drawn), keyOf);
    const left = items.length - this.#drawn;
    this.#more.hidden = left <= 0;
    text(this.#more, `Show more (${plain(left)} left)`);
  }

  // The focus goes to the first new one: the button may be gone.
  #draw() {
    const first = this.#items[this.#drawn];
    this.#drawn += this.#step;
    this.update(this.#items, this.#keyOf);
    if (first) this.get(this.#keyOf(first)).element.querySelector("button, h3")?.focus();
  }
}
