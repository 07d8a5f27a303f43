/** A picture in a tile, which a press shows as large as the window. */

import { element } from "../dom.js";

/** @returns {HTMLButtonElement} the picture; it opens the large one */
export function picture(src, alt) {
  const button = element("button", { type: "button", class: "picture", title: "Show it larger" }, element("img", { src, alt }));
  button.addEventListener("click", () => {
    const close = element("button", { class: "button quiet small" }, "Close");
    const viewer = element("dialog", { class: "viewer", "aria-label": alt }, element("img", { src, alt: "" }), element("form", { method: "dialog" }, close));
    viewer.addEventListener("click", ({ target }) => target === viewer && viewer.close()); // beside the picture
    viewer.addEventListener("close", () => viewer.remove());
    document.body.append(viewer);
    viewer.showModal();
  });
  return button;
}
