/** Key and tempo: asked for with a button, shown with the picture of the analysis. */

import { getResult, startModel } from "../api.js";
import { byId, element, show } from "../dom.js";
import { duration } from "../format.js";
import { newestCompleted } from "../jobs.js";
import { isOnTheWay } from "../tasks/tasks.js";
import { picture } from "./picture.js";

const MODEL = "pitch_analysis";
const NO_CHORD = "N"; // where nothing is played, or nothing that is one

/** @param {ReturnType<import("../tasks/actions.js").createTaskActions>} tasks */
export function createAnalysis(tasks) {
  const tile = byId("analysis");
  const heading = element("h3", { id: "analysis-heading" }, "Key and tempo");
  let shown = [];

  return function render({ jobs, song, tasks: { analysis } }) {
    if (shown[0] === jobs && shown[1] === analysis) return;
    shown = [jobs, analysis];
    const done = newestCompleted(jobs, MODEL);
    const ask = () => tasks.run("analysis", () => startModel(MODEL, song.file_id));
    tile.replaceChildren(heading, ...(done ? found(done) : asked(analysis, ask)));
  };
}

function found({ result, files }) {
  const figures = [figure(result.detected_key, `${Math.round(result.confidence * 100)}% confidence`)];
  if (result.tempo_bpm) figures.push(figure(`${Math.round(result.tempo_bpm)}`, "beats per minute"));
  const parts = [element("div", { class: "figures" }, ...figures)];
  const pitches = (result.dominant_pitches ?? []).map((pitch) => element("li", {}, pitch));
  if (pitches.length) parts.push(named("Strongest notes", element("ul", { class: "chips", "aria-label": "Strongest notes" }, ...pitches)));
  const url = (name) => files?.find(({ filename }) => filename === name)?.download_url;
  if (url(result.analysis_file)) parts.push(chords(url(result.analysis_file)));
  if (url(result.plot_file)) parts.push(picture(url(result.plot_file), `Chromagram and key strengths, ${result.detected_key}`));
  return parts;
}

/** The chords with the times they begin at, once the file that has them is there; without it the rest stands. */
function chords(url) {
  const list = element("ol", { class: "chords", "aria-label": "Chords", tabindex: "0" });
  const part = named("Chords", list);
  show(part, false);
  getResult(url).then(
    ({ chords: found = [] }) => {
      const played = found.filter(({ name }) => name !== NO_CHORD);
      list.replaceChildren(...played.map(({ name, start_seconds: at }) => element("li", {}, element("span", {}, duration(at)), " ", element("strong", {}, name))));
      show(part, played.length > 0);
    },
    () => {},
  );
  return part;
}

const named = (title, list) => element("div", { class: "named" }, element("h4", {}, title), list);

function figure(value, about) {
  return element("p", {}, element("span", { class: "figure-value" }, value), element("br"), element("span", { class: "figure-about" }, about));
}

function asked(task, ask) {
  const running = isOnTheWay(task);
  const button = element("button", { type: "button", class: "button quiet" }, running ? `Listening… ${task.progress}%` : "Analyse key and tempo");
  button.disabled = running;
  button.addEventListener("click", ask);
  return task.error ? [element("p", { class: "tile-error", role: "alert" }, task.error), button] : [button];
}
