/** Which variants take a song apart and write down its words. */

import { byId } from "../dom.js";
import { fillVariants } from "./variants.js";

const CHOICES = [
  { model: "demucs", select: "separation-variant", about: "separation-about" },
  { model: "whisper", select: "transcription-variant", about: "transcription-about" },
];

export function createOptions() {
  return function render(models) {
    for (const { model, select, about } of CHOICES) {
      if (models?.[model]) fillVariants(byId(select), byId(about), models[model]);
    }
  };
}

/** The form fields of an upload that say which models are chosen. */
export function chosenVariants() {
  return Object.fromEntries(CHOICES.map(({ select }) => [byId(select).name, byId(select).value]));
}
