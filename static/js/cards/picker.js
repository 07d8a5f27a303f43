/** Choosing a song: by click, by keyboard, or by dropping it anywhere on the page. */

import { byId, show } from "../dom.js";

export function createPicker(actions) {
  const [picker, input, change] = [byId("picker"), byId("file"), byId("change")];
  let open = true;

  input.addEventListener("change", () => {
    if (input.files.length) actions.choose(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  change.addEventListener("click", () => input.click());
  acceptDrops((file) => open && actions.choose(file));

  return function render({ phase, file, song }) {
    open = phase === "idle";
    document.body.classList.toggle("accepts-drops", open);
    show(picker, open && !file && !song);
    show(change, open && file !== null);
  };
}

/** Hand on the first file dropped on the page; a file over the page lights it up. */
function acceptDrops(take) {
  const lit = (on) => document.body.classList.toggle("dragging", on);
  const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    lit(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) lit(false); // the pointer has left the window
  });
  document.addEventListener("drop", (event) => {
    lit(false);
    if (!carriesFile(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}
