/** Start, cancel, another song: which of them there is depends on the phase. */

import { byId, show } from "../dom.js";
import { songs } from "../format.js";
import { count, isSending } from "../queue/entries.js";
import { chosenVariants } from "./options.js";

export function createControls(actions, queued) {
  const [form, options, fields] = ["start-form", "options", "options-fields"].map(byId);
  const [start, cancel, another] = ["start", "cancel", "another"].map(byId);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (start.dataset.starts === "queue") queued.send();
    else actions.start(chosenVariants());
  });
  cancel.addEventListener("click", actions.cancel);
  another.addEventListener("click", actions.reset);

  return function render({ phase, file, queue, models, cancelling }) {
    const waiting = file || isSending(queue) ? 0 : count(queue, "waiting");
    const busy = phase === "uploading" || phase === "processing";
    options.dataset.phase = phase;
    fields.disabled = phase !== "idle" || !models;
    start.disabled = !(file || waiting) || !models;
    start.dataset.starts = waiting ? "queue" : "file";
    start.textContent = waiting ? `Start processing ${songs(waiting)}` : "Start processing";
    show(start, phase === "idle");
    show(cancel, busy);
    cancel.disabled = cancelling;
    cancel.textContent = cancelling ? "Cancelling…" : "Cancel";
    show(another, phase === "ended");
  };
}
