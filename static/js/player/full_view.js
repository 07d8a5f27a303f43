/** Shows an element over the whole screen; over the whole page where a browser keeps full screen to itself. */

import { iconUrl } from "../dom.js";

/**
 * @param {HTMLElement} stage
 * @param {HTMLButtonElement} button pressed while the view is full
 */
export function createFullView(stage, button) {
  const isFull = () => stage.classList.contains("full");

  function render(full) {
    stage.classList.toggle("full", full);
    document.documentElement.classList.toggle("holds-full-view", full);
    button.setAttribute("aria-pressed", full);
    button.querySelector("use").setAttribute("href", iconUrl(full ? "shrink" : "expand"));
  }

  function leave() {
    if (document.fullscreenElement === stage) document.exitFullscreen();
    render(false);
  }

  button.addEventListener("click", () => {
    if (isFull()) return leave();
    render(true);
    return stage.requestFullscreen?.().catch(() => {}); // refused: the page it is
  });
  stage.addEventListener("fullscreenchange", () => render(document.fullscreenElement === stage));
  stage.addEventListener("keydown", ({ key }) => key === "Escape" && isFull() && leave());

  return { leave };
}
