/** Which variants take a song apart and write down its words: those of the shown song's jobs, or those that are chosen. */

import { byId } from "../dom.js";
import { newest } from "../jobs.js";
import { fillVariants } from "./variants.js";

const CHOICES = [
  { model: "demucs", select: "separation-variant", about: "separation-about" },
  { model: "whisper", select: "transcription-variant", about: "transcription-about" },
];

export function createOptions() {
  let shown = [];

  return function render({ models, song, jobs }) {
    const made = song && (jobs ?? song.jobs);
    if (shown[0] === models && shown[1] === made) return;
    for (const { model, select, about } of CHOICES) {
      if (models?.[model] && models !== shown[0]) fillVariants(byId(select), byId(about), models[model]);
      showVariant(byId(select), newest(made, model)?.model_variant);
    }
    shown = [models, made];
  };
}

/** The form fields of an upload that say which models are chosen; `data-next` is the choice for songs that come while the demo runs. */
export function chosenVariants() {
  return Object.fromEntries(CHOICES.map(({ select }) => [byId(select).name, byId(select).dataset.next ?? chosen(byId(select))]));
}

const chosen = (select) => select.dataset.chosen ?? select.value;

/** Show what a song was made with; without a song what was chosen before, which it leaves as it is. */
function showVariant(select, variant) {
  const choice = chosen(select);
  if (variant && ![...select.options].some(({ value }) => value === variant)) return;
  if (variant) select.dataset.chosen = choice;
  else delete select.dataset.chosen;
  select.value = variant ?? choice;
  select.onchange?.();
}
