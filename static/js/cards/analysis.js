/** Key and tempo: asked for with a button, shown with the picture of the analysis. */

import { startModel } from "../api.js";
import { byId, element } from "../dom.js";
import { isOnTheWay } from "../tasks/tasks.js";

const MODEL = "pitch_analysis";

/** @param {ReturnType<import("../tasks/actions.js").createTaskActions>} tasks */
export function createAnalysis(tasks) {
  const tile = byId("analysis");
  const heading = element("h3", { id: "analysis-heading" }, "Key and tempo");
  let shown = [];

  return function render({ jobs, song, tasks: { analysis } }) {
    if (shown[0] === jobs && shown[1] === analysis) return;
    shown = [jobs, analysis];
    const done = (jobs ?? []).find((job) => job.model === MODEL && job.status === "completed");
    const ask = () => tasks.run("analysis", () => startModel(MODEL, song.file_id));
    tile.replaceChildren(heading, ...(done ? found(done) : asked(analysis, ask)));
  };
}

function found({ result, files }) {
  const figures = [figure(result.detected_key, `${Math.round(result.confidence * 100)}% confidence`)];
  if (result.tempo_bpm) figures.push(figure(`${Math.round(result.tempo_bpm)}`, "beats per minute"));
  const parts = [element("div", { class: "figures" }, ...figures)];
  const pitches = (result.dominant_pitches ?? []).map((pitch) => element("li", {}, pitch));
  parts.push(element("ul", { class: "chips", "aria-label": "Dominant pitches" }, ...pitches));
  const plot = files?.find((file) => file.filename === result.plot_file);
  if (plot) parts.push(element("img", { src: plot.download_url, alt: `Chromagram and key strengths, ${result.detected_key}` }));
  return parts;
}

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
