/** A select with the variants of a model: those that are here, and those that would be downloaded, with size and licence. */

import { element } from "../dom.js";
import { size } from "../format.js";

/**
 * Fill a select; what was chosen stays chosen.
 *
 * @param {HTMLSelectElement} select
 * @param {HTMLElement} about says what there is to know of the chosen one
 * @param {object} config of the model, from `GET /models`
 */
export function fillVariants(select, about, config) {
  const chosen = select.value || config.default_model;
  const names = (cached) => config.available_models.filter((name) => Boolean(config.variants[name].cached) === cached);
  const groups = [["Downloaded", names(true)], ["Downloaded at first use", names(false)]].filter(([, found]) => found.length);
  select.replaceChildren(...groups.map(([label, found]) => element("optgroup", { label }, ...found.map((name) => option(name, config)))));
  select.value = chosen;
  const describe = () => (about.textContent = facts(config.variants[select.value]));
  select.onchange = describe;
  describe();
}

function option(name, config) {
  const { cached, download_size_bytes: bytes } = config.variants[name];
  const label = name === config.default_model ? `${name} (default)` : name;
  return element("option", { value: name }, cached ? label : `${label}, ${size(bytes)}`);
}

/** "Ready · MIT", or what it takes: "Downloads 1.4 GB at first use · MIT"; and what there is to know of it. */
function facts(variant) {
  const download = `Downloads ${size(variant.download_size_bytes)} at first use`;
  const state = variant.loaded ? "Loaded" : variant.cached ? "Ready" : download;
  return [state, variant.license, variant.note].filter(Boolean).join(" · ");
}
