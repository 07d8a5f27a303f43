/** Start, pause, cancel, another song: which of them there is depends on the phase. */

import { byId, show, withFocus } from "../dom.js";
import { songs } from "../format.js";
import { count, isSending } from "../queue/entries.js";
import { isPaused } from "../state.js";
import { chosenVariants } from "./options.js";

export function createControls(actions, queued) {
  const [form, options, fields] = ["start-form", "options", "options-fields"].map(byId);
  const [start, pause, cancel, another] = ["start", "pause", "cancel", "another"].map(byId);
  const buttons = [start, pause, cancel, another];
  const next = [cancel, another, byId("file"), start];

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (start.dataset.starts === "queue") queued.send();
    else actions.start(chosenVariants());
  });
  pause.addEventListener("click", () => {
    if (pause.getAttribute("aria-disabled") === "true") return;
    if (pause.dataset.does === "resume") actions.goOn();
    else actions.pause();
  });
  cancel.addEventListener("click", () => cancel.getAttribute("aria-disabled") !== "true" && actions.cancel());
  another.addEventListener("click", actions.reset);

  return (state) => withFocus(buttons, () => render(state), () => next);

  function render(state) {
    const { phase, file, queue, models, cancelling, pausing, jobId } = state;
    const waiting = file || isSending(queue) ? 0 : count(queue, "waiting");
    const busy = phase === "uploading" || phase === "processing";
    options.dataset.phase = phase;
    fields.disabled = phase !== "idle" || !models;
    start.disabled = !(file || waiting) || !models;
    start.dataset.starts = waiting ? "queue" : "file";
    start.textContent = waiting ? `Start processing ${songs(waiting)}` : "Start processing";
    show(start, phase === "idle");
    const paused = isPaused(state);
    show(pause, busy); // from the upload on, though it cannot be paused: nothing moves when it can
    pause.dataset.does = paused ? "resume" : "pause";
    pause.setAttribute("aria-disabled", cancelling || pausing || !jobId); // keeps the focus, unlike disabled
    pause.textContent = paused ? "Resume" : pausing ? "Pausing…" : "Pause";
    show(cancel, busy);
    cancel.setAttribute("aria-disabled", cancelling);
    cancel.textContent = cancelling ? "Cancelling…" : "Cancel";
    show(another, phase === "ended");
  }
}
