/** Shows an element over the whole screen; over the whole page where a browser keeps full screen to itself. */

import { iconUrl } from "../dom.js";

/**
 * @param {HTMLElement} stage
 * @param {HTMLButtonElement} button pressed while the view is full
 */
export function createFullView(stage, button) {
  const isFull = () => stage.classList.contains("full");

  let behind = []; // what was made inert, so that no focus goes where nobody sees it

  function cover(full) {
    for (const part of behind) part.inert = false;
    behind = full ? outside(stage).filter((part) => !part.inert) : [];
    for (const part of behind) part.inert = true;
  }

  function render(full) {
    cover(full);
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
  document.addEventListener("keydown", ({ key }) => key === "Escape" && isFull() && leave());

  return { leave };
}

/** Everything beside an element and beside those that hold it. A dialog is none of it: it comes before all. */
function outside(inner) {
  const found = [];
  for (let at = inner; at !== document.body; at = at.parentElement) {
    found.push(...[...at.parentElement.children].filter((part) => part !== at && !part.matches("dialog")));
  }
  return found;
}
