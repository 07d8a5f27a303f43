/** Choosing songs: by click, by keyboard, or by dropping them anywhere on the page. */

import { byId, show } from "../dom.js";

/** @param {{take: (files: File[]) => void}} queued */
export function createPicker(queued) {
  const [picker, input, change] = [byId("picker"), byId("file"), byId("change")];

  input.addEventListener("change", () => {
    if (input.files.length) queued.take([...input.files]);
    input.value = ""; // so that the same files can be chosen again
  });
  change.addEventListener("click", () => input.click());
  byId("queue-add").addEventListener("click", () => input.click());
  acceptDrops((files) => files.length && queued.take(files));

  return function render({ phase, file, song }) {
    const idle = phase === "idle";
    show(picker, idle && !file && !song);
    show(change, idle && file !== null);
  };
}

/** Hand on the files dropped on the page; a file over the page lights it up. */
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
    take([...event.dataTransfer.files]);
  });
}
