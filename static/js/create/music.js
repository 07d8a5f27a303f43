/** Music from text: the form, how it goes, and what was made. */

import { generateMusic, startModel } from "../api.js";
import { byId } from "../dom.js";
import { fillVariants } from "../cards/variants.js";
import { duration } from "../format.js";
import { createTaskButtons } from "../tasks/buttons.js";
import { createTaskProgress } from "../tasks/progress.js";
import { isOnTheWay } from "../tasks/tasks.js";
import { createMade } from "./made.js";

const MODEL = "musicgen";
const HEARS_A_TUNE = "melody"; // this variant follows a song's tune; the others go on from its end
const LIMITED = { "music-seconds": "duration", "music-temperature": "temperature", "music-guidance": "cfg_coeff" };

/** @param {ReturnType<import("../tasks/actions.js").createTaskActions>} tasks */
export function createMusic(tasks) {
  const [form, fields, prompt, seconds, length] = ["music-form", "music-fields", "music-prompt", "music-seconds", "music-length"].map(byId);
  const [variant, source, sourceAbout] = ["music-variant", "music-source", "music-source-about"].map(byId);
  const [start, cancel] = ["music-start", "music-cancel"].map(byId);
  const renderButtons = createTaskButtons(start, cancel, () => tasks.cancel("music"));
  const renderProgress = createTaskProgress(byId("music-progress"), "Music generation");
  const renderMade = createMade(byId("music-made"));
  let song = null;
  let models = null;

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const from = source.value === "song" ? song?.file_id : null;
    tasks.run("music", () => (from ? startModel(MODEL, from, { ...wished(), force: true }) : generateMusic(wished())));
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(start);
  });
  seconds.addEventListener("input", renderLength);
  for (const select of [variant, source]) select.addEventListener("change", renderSource);

  /** The request's fields; what is left empty is the server's choice. */
  function wished() {
    const seed = byId("music-seed").value;
    const numbers = Object.entries(LIMITED).map(([id, name]) => [name, byId(id).valueAsNumber]);
    return { prompt: prompt.value, model_variant: variant.value, ...Object.fromEntries(numbers), ...(seed && { seed: Number(seed) }) };
  }

  function renderLength() {
    length.textContent = duration(seconds.valueAsNumber);
    seconds.setAttribute("aria-valuetext", `${seconds.value} seconds`);
    seconds.style.setProperty("--filled", `${(100 * (seconds.value - seconds.min)) / (seconds.max - seconds.min)}%`);
  }

  function renderSource() {
    const hears = variant.value === HEARS_A_TUNE;
    source.options[1].textContent = hears ? "The tune of this song" : "The end of this song";
    const name = song?.title || song?.filename || "the song above";
    const what = hears ? `Follows the tune of ${name}.` : `Goes on from the last 10 seconds of ${name}.`;
    source.disabled = song === null;
    sourceAbout.textContent = !song ? "Open a song above to go on from its end." : source.value === "song" ? what : "";
  }

  /** Which variants there are, and between which numbers the server takes a field. */
  function renderModels(config) {
    fillVariants(variant, byId("music-variant-about"), config);
    prompt.maxLength = config.parameters.prompt.maxLength;
    for (const [id, name] of Object.entries(LIMITED)) {
      const { minimum, maximum, default: usual } = config.parameters[name];
      Object.assign(byId(id), { min: minimum, max: maximum, value: usual });
    }
    renderLength();
  }

  return function render(state) {
    const { music } = state.tasks;
    if (state.models !== models && state.models?.[MODEL]) renderModels(state.models[MODEL]);
    if (state.song !== song && !state.song) source.value = "nothing";
    [models, song] = [state.models, state.song];
    fields.disabled = isOnTheWay(music) || !models;
    renderButtons(music, models !== null);
    renderSource();
    renderProgress(music);
    renderMade(music);
  };
}
