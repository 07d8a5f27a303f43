/** Which variant of each model to use, with what is here already and what would be downloaded. */

import { byId, element } from "../dom.js";
import { size } from "../format.js";

const CHOICES = [
  { model: "demucs", select: "separation-variant", about: "separation-about" },
  { model: "whisper", select: "transcription-variant", about: "transcription-about" },
];

export function createOptions() {
  for (const { select, about } of CHOICES) {
    byId(select).addEventListener("change", () => describe(byId(select), byId(about)));
  }

  return function render(models) {
    for (const { model, select, about } of CHOICES) {
      if (models?.[model]) fill(byId(select), models[model]);
      describe(byId(select), byId(about));
    }
  };
}

/** The form fields of an upload that say which models are chosen. */
export function chosenVariants() {
  return Object.fromEntries(CHOICES.map(({ select }) => [byId(select).name, byId(select).value]));
}

function fill(select, config) {
  const chosen = select.value || config.default_model;
  select.replaceChildren(...config.available_models.map((name) => option(name, config, name === chosen)));
}

function option(name, config, chosen) {
  const label = name === config.default_model ? `${name} (default)` : name;
  const made = element("option", { value: name }, label);
  made.selected = chosen;
  made.dataset.about = facts(config.variants?.[name]);
  return made;
}

/** "Ready · MIT", or what it takes: "Downloads 1.4 GB at first use · MIT"; and what there is to know of it. */
function facts(variant) {
  if (!variant) return "";
  const bytes = variant.download_size_bytes;
  const download = bytes ? `Downloads ${size(bytes)} at first use` : "Downloads at first use";
  const state = variant.loaded ? "Loaded" : variant.cached ? "Ready" : download;
  return [state, variant.license, variant.note].filter(Boolean).join(" · ");
}

function describe(select, about) {
  about.textContent = select.selectedOptions[0]?.dataset.about ?? "";
}
