/** Gemma on the song that the page shows: what it shall do, how it goes, what it answered. */

import { startModel } from "../api.js";
import { byId, element, show } from "../dom.js";
import { fillVariants } from "../cards/variants.js";
import { createTaskButtons } from "../tasks/buttons.js";
import { createTaskProgress } from "../tasks/progress.js";
import { isOnTheWay } from "../tasks/tasks.js";

const MODEL = "gemma_3n";
const TASKS = { analyze: "Description", transcribe: "Words" };
const hears = (variant) => variant.includes("3n"); // the others get measurements, or the words that Whisper heard

/** @param {ReturnType<import("../tasks/actions.js").createTaskActions>} tasks */
export function createGemma(tasks) {
  const [form, fields, task, variant, about] = ["gemma-form", "gemma-fields", "gemma-task", "gemma-variant", "gemma-about"].map(byId);
  const [start, cancel, answer] = ["gemma-start", "gemma-cancel", "gemma-answer"].map(byId);
  const renderProgress = createTaskProgress(byId("gemma-progress"), "Gemma");
  const renderButtons = createTaskButtons(start, cancel, () => tasks.cancel("gemma"));
  let shown = {};

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = { task: task.value, model_variant: variant.value };
    tasks.run("gemma", () => startModel(MODEL, shown.song.file_id, body));
  });
  for (const select of [task, variant]) select.addEventListener("change", renderForm);

  /** Whether words can be corrected depends on whether there are any. */
  function renderForm() {
    const { models, jobs, tasks: { gemma } } = shown;
    const correcting = task.value === "transcribe" && !hears(variant.value);
    const heard = (jobs ?? []).some((job) => job.model === "whisper" && job.status === "completed");
    about.textContent = sentence(correcting, heard, hears(variant.value));
    fields.disabled = isOnTheWay(gemma) || !models;
    renderButtons(gemma, Boolean(models) && (heard || !correcting));
  }

  return function render(state) {
    const before = shown;
    shown = state;
    if (state.models !== before.models && state.models?.[MODEL]) fillVariants(variant, byId("gemma-variant-about"), state.models[MODEL]);
    renderForm();
    renderProgress(state.tasks.gemma);
    if (state.jobs !== before.jobs) renderAnswer(answer, newest(state.jobs ?? []));
  };
}

function sentence(correcting, heard, hearing) {
  if (correcting) return heard ? "Corrects the words that Whisper heard." : "Needs the words that Whisper heard; there are none yet.";
  return hearing ? "Hears the song itself." : "Reads the song's measurements and lyrics; it does not hear it.";
}

function newest(jobs) {
  const done = jobs.filter((job) => job.model === MODEL && job.status === "completed");
  return done.sort((a, b) => b.finished_at - a.finished_at)[0];
}

function renderAnswer(place, job) {
  show(place, job !== undefined);
  if (!job) return;
  const head = element("p", { class: "gemma-by" }, `${TASKS[job.result.task]} by ${job.model_variant}`);
  const text = job.result.audio_analysis.trim();
  const words = text
    ? element("p", { class: "gemma-text", tabindex: "0", role: "group", "aria-label": "Answer", dir: "auto" }, text)
    : element("p", { class: "tile-empty" }, job.result.message || "The answer is empty.");
  place.replaceChildren(head, words);
}
