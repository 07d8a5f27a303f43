/** Start, cancel, another song: which of them there is depends on the phase. */

import { byId, show } from "../dom.js";

export function createControls(actions) {
  const [form, fields, start, cancel, another] = ["start-form", "options-fields", "start", "cancel", "another"].map(byId);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    actions.start({
      model_variant: byId("separation-variant").value,
      transcription_model_variant: byId("transcription-variant").value,
    });
  });
  cancel.addEventListener("click", actions.cancel);
  another.addEventListener("click", actions.reset);

  return function render({ phase, file, models, cancelling }) {
    const busy = phase === "uploading" || phase === "processing";
    fields.disabled = phase !== "idle" || !models;
    start.disabled = !file || !models;
    show(start, phase === "idle");
    show(cancel, busy);
    cancel.disabled = cancelling;
    cancel.textContent = cancelling ? "Cancelling…" : "Cancel";
    show(another, phase === "ended");
  };
}
