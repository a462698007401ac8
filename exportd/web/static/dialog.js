// The dialog that starts an export. Its choices come from the daemon's table of formats; what they would give is estimated
// while one chooses.

import { api, Refused } from "./api.js";
import { isNothing, newKey, OVERLAY, remember } from "./choices.js";
import { attribute, busy, h, icon, later, text } from "./dom.js";
import { bytes, count } from "./format.js";
import { Picker } from "./picker.js";

const PAUSE = 250; // ms without a change, after which the estimate is asked for
const MOST = 4; // faults that are told at once

export class Dialog {
  #project;
  #formats;
  #picker;
  #form;
  #estimate = h("p", { class: "estimate", role: "status" });
  #remarks = h("ul", { class: "remarks" });
  #start;
  #asking = new AbortController();
  #ask = later(PAUSE, () => this.#askEstimate());
  #key = { sent: null, value: null };

  // `started(jobId)` is called when the export is on record.
  constructor(project, formats, options, started) {
    this.#project = project;
    this.#formats = formats;
    this.started = started;
    this.#picker = new Picker(project, options.selectedImageIds, () => this.#changed());
    this.#start = busy(h("button", { class: "main", type: "submit", id: "start" }, "Start export"), () => this.#begin());
    this.#form = h("form", { method: "dialog", novalidate: true },
      h("header", {}, h("div", {}, h("h2", { id: "dialog-title" }, "Export"), h("p", { class: "subject" }, project.title)),
        h("button", { class: "quiet icon-only", type: "button", "aria-label": "Close", onclick: () => this.element.close() }, icon("cross"))),
      h("div", { class: "body" }, this.#picker.element, this.#pictures(options), this.#annotations(options),
        this.#metrics(options), this.#papers(options)),
      h("footer", {}, h("div", { class: "outlook" }, this.#estimate, h("div", { role: "status" }, this.#remarks)),
        h("button", { type: "button", onclick: () => this.element.close() }, "Not now"), this.#start));
    this.element = h("dialog", { class: "sheet", "aria-labelledby": "dialog-title" }, this.#form);
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("input", () => this.#changed());
    this.element.addEventListener("close", () => this.#closed());
  }

  open() {
    document.body.append(this.element);
    this.element.showModal();
    this.#changed();
  }

  // --- what is asked for ----------------------------------------------------------------------------------------------

  #pictures(options) {
    const overlay = { ...OVERLAY, ...options.visualizationOptions };
    const settings = h("div", { class: "settings" },
      field("Outline", { type: "color", name: "external", value: overlay.polygonColors.external }),
      field("Holes", { type: "color", name: "internal", value: overlay.polygonColors.internal }),
      field("Line, pixels", { type: "number", name: "strokeWidth", min: 0.5, max: 50, step: 0.5, value: overlay.strokeWidth }),
      field("Fill", { type: "range", name: "fill", min: 0, max: 1, step: 0.05, value: (1 - overlay.transparency).toFixed(2) }),
      tick("showNumbers", "Numbers", null, overlay.showNumbers),
      field("Their height, pixels", { type: "number", name: "fontSize", min: 4, max: 400, step: 1, value: overlay.fontSize }));
    return group("Image files",
      tick("includeOriginalImages", "Originals", "The image files, bit for bit.", options.includeOriginalImages),
      tick("includeVisualizations", "Overlays", "The outlines drawn over each image.", options.includeVisualizations),
      reveal(settings, "includeVisualizations"));
  }

  #annotations({ annotationFormats }) {
    return group("Annotations", ...this.#formats.annotations.map(({ id, name, description }) =>
      tick("annotationFormats", name, description, annotationFormats.includes(id), id)));
  }

  #metrics({ metricsFormats, pixelToMicrometerScale, intensityMetrics }) {
    const settings = h("div", { class: "settings" },
      field("Micrometres per pixel", { type: "number", name: "scale", min: 0.001, max: 1000, step: "any",
        placeholder: "none: pixels", value: pixelToMicrometerScale }),
      tick("intensityMetrics", "Intensities too", null, intensityMetrics));
    return group("Metrics", ...this.#formats.metrics.map(({ id, name, description }) =>
      tick("metricsFormats", name, description, metricsFormats.includes(id), id)), reveal(settings, "metricsFormats"));
  }

  #papers({ includeDocumentation }) {
    return group("Documentation",
      tick("includeDocumentation", "Guide", "What is in the archive, and how each number is defined.", includeDocumentation));
  }

  get #options() {
    const values = new FormData(this.#form);
    const options = {
      includeOriginalImages: values.has("includeOriginalImages"),
      includeVisualizations: values.has("includeVisualizations"),
      annotationFormats: values.getAll("annotationFormats"),
      metricsFormats: values.getAll("metricsFormats"),
      intensityMetrics: values.has("intensityMetrics"),
      includeDocumentation: values.has("includeDocumentation"),
      visualizationOptions: {
        showNumbers: values.has("showNumbers"),
        polygonColors: { external: values.get("external"), internal: values.get("internal") },
        strokeWidth: Number(values.get("strokeWidth")),
        fontSize: Number(values.get("fontSize")),
        transparency: Number((1 - values.get("fill")).toFixed(2)),
      },
    };
    if (values.get("scale")) options.pixelToMicrometerScale = Number(values.get("scale"));
    if (this.#picker.value) options.selectedImageIds = this.#picker.value;
    return options;
  }

  // --- what it would give ---------------------------------------------------------------------------------------------

  #changed() {
    this.#form.querySelectorAll("[data-when]").forEach((part) => {
      part.hidden = !this.#form.querySelector(`[name="${part.dataset.when}"]:checked`);
    });
    this.#asking.abort();
    const missing = this.#missing();
    this.#allow(!missing);
    if (missing) {
      text(this.#estimate, "");
      this.#remark([missing], "hint");
    } else {
      attribute(this.#estimate, "data-old", true); // until the new one is there
      this.#ask();
    }
  }

  #missing() {
    const options = this.#options;
    if (options.selectedImageIds?.length === 0) return "Choose at least one image.";
    if (isNothing(options)) return "Choose something to export.";
    const wrong = [...this.#form.querySelectorAll("input:invalid")].find((input) => !input.closest("[hidden]"));
    return wrong && `${wrong.closest("label").firstElementChild.textContent}: ${wrong.validationMessage}`;
  }

  async #askEstimate() {
    if (!this.element.open || this.#missing()) return;
    this.#asking = new AbortController();
    try {
      const { images, annotations, bytes: size, warnings } =
        await api.estimate(this.#project.id, this.#options, this.#asking.signal);
      text(this.#estimate, `${count(images, "image")} · ${count(annotations, "object")} · at most about ${bytes(size)}`);
      attribute(this.#estimate, "data-old", null);
      this.#remark(warnings, "hint");
    } catch (error) {
      if (error.name === "AbortError") return;
      text(this.#estimate, "");
      this.#refuse(error);
      this.#allow(!(error.status < 500)); // what the daemon cannot do now it may do in a moment
    }
  }

  async #begin() {
    const options = this.#options;
    const sent = JSON.stringify(options);
    if (this.#key.sent !== sent) this.#key = { sent, value: newKey() };
    try {
      const { jobId } = await api.start(this.#project.id, options, this.#key.value);
      remember(this.#project.id, options);
      this.element.close();
      this.started(jobId, this.#project);
    } catch (error) {
      this.#refuse(error);
    }
  }

  #refuse(error) {
    this.#remark(error instanceof Refused ? error.sentences.slice(0, MOST) : [error.message], "bad");
  }

  #remark(sentences, kind) {
    const same = [...this.#remarks.children].map((item) => item.textContent).join() === sentences.join();
    attribute(this.#remarks, "data-kind", kind);
    if (!same) this.#remarks.replaceChildren(...sentences.map((sentence) => h("li", {}, sentence)));
  }

  // It can be reached all the same: what keeps it from starting stands beside it.
  #allow(allowed) {
    attribute(this.#start, "aria-disabled", allowed ? null : "true");
  }

  #closed() {
    this.#asking.abort();
    this.#picker.close();
    this.element.remove();
  }
}

function group(title, ...children) {
  return h("fieldset", {}, h("legend", {}, title), h("div", { class: "choices" }, ...children));
}

function tick(name, label, description, checked, value = "on") {
  return h("label", { class: "choice" }, h("input", { type: "checkbox", name, value, checked }),
    h("span", {}, h("span", { class: "label" }, label), description && h("span", { class: "description" }, description)));
}

function field(label, properties) {
  return h("label", { class: "field" }, h("span", {}, label), h("input", properties));
}

// Shown only while something of this name is chosen.
function reveal(element, name) {
  element.dataset.when = name;
  return element;
}
