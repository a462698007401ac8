// A question before what cannot be undone. Escape, and whatever has the focus first, leave everything as it is.

import { h, icon } from "./dom.js";

const YES = "yes";

// Gives whether the answer was yes, once the question is gone.
export function ask({ title, text, yes, no }) {
  return new Promise((resolve) => {
    const box = h("dialog", { class: "question", "aria-labelledby": "question" },
      h("h2", { id: "question" }, title), h("p", {}, text),
      h("footer", {}, h("button", { type: "button", autofocus: true, onclick: () => box.close() }, no),
        h("button", { class: "danger", type: "button", onclick: () => box.close(YES) }, icon("bin"), yes)));
    box.addEventListener("close", () => {
      box.remove();
      resolve(box.returnValue === YES);
    });
    document.body.append(box);
    box.showModal();
  });
}
