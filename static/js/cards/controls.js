/** Start, cancel, another song: which of them there is depends on the phase. */

import { byId, show } from "../dom.js";

export function createControls(actions) {
  const [form, options, fields] = ["start-form", "options", "options-fields"].map(byId);
  const [start, cancel, another] = ["start", "cancel", "another"].map(byId);

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
    options.dataset.phase = phase;
    fields.disabled = phase !== "idle" || !models;
    start.disabled = !file || !models;
    show(start, phase === "idle");
    show(cancel, busy);
    cancel.disabled = cancelling;
    cancel.textContent = cancelling ? "Cancelling…" : "Cancel";
    show(another, phase === "ended");
  };
}
