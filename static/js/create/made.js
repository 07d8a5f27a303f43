/** The pieces that were made since the page was opened, the newest first: to be heard and downloaded. */

import { element, icon } from "../dom.js";
import { duration, sampleRate, size } from "../format.js";

/** @param {HTMLElement} list */
export function createMade(list) {
  const shown = new Set();

  return function render({ status, job }) {
    if (status !== "completed" || shown.has(job.job_id)) return;
    shown.add(job.job_id);
    list.prepend(piece(job));
    list.hidden = false;
  };
}

function piece({ parameters, model_variant: variant, result, files }) {
  const file = files.find(({ filename }) => filename === result.generated_file);
  const facts = [duration(result.duration), sampleRate(result.sample_rate), variant, `seed ${result.seed}`, size(file.size_bytes)];
  const audio = element("audio", { controls: "", preload: "metadata", src: file.download_url, "aria-label": parameters.prompt });
  const download = element("a", { class: "button quiet small", href: file.download_url, download: file.filename }, icon("download"), "Download");
  const chips = element("ul", { class: "chips", "aria-label": "Facts" }, ...facts.map((fact) => element("li", {}, fact)));
  return element("li", { class: "made" }, element("p", { class: "made-prompt", dir: "auto" }, parameters.prompt), chips, element("div", { class: "made-sound" }, audio, download));
}
