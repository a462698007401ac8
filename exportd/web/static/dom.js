// The few things that all views do to the document.

const SVG = "http://www.w3.org/2000/svg";

// An element: h("button", { class: "main", onclick: start }, "Start"). Values of null and false are left out.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

// Only what differs is touched: the rest keeps focus, selection and hover.
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
  return element;
}

export function attribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

// A list whose parts stay the same elements as long as their keys do. A part has `element` and `update(item)`.
export class Keyed {
  #parts = new Map();

  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
  }

  get(key) {
    return this.#parts.get(key);
  }

  update(items, keyOf) {
    const wanted = new Set(items.map(keyOf));
    for (const [key, part] of this.#parts) {
      if (wanted.has(key)) continue;
      part.element.remove();
      this.#parts.delete(key);
    }
    let place = this.parent.firstElementChild;
    for (const item of items) {
      const part = this.#part(keyOf(item), item);
      part.update(item);
      if (part.element === place) place = place.nextElementSibling;
      else this.parent.insertBefore(part.element, place);
    }
  }

  #part(key, item) {
    if (!this.#parts.has(key)) this.#parts.set(key, this.make(item));
    return this.#parts.get(key);
  }
}

// What a button does: it cannot be pressed again meanwhile. It keeps the focus: a disabled one would lose it.
export function busy(button, work) {
  button.addEventListener("click", async () => {
    if (button.matches('[aria-disabled="true"], [aria-busy="true"]')) return;
    attribute(button, "aria-busy", "true");
    try {
      await work();
    } finally {
      attribute(button, "aria-busy", null);
    }
  });
  return button;
}

export function later(delay, work) {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, delay);
  };
}
