/** Key and tempo: asked for with a button, shown with the picture of the analysis. */

import { byId, element } from "../dom.js";

export function createAnalysis(actions) {
  const tile = byId("analysis");
  const heading = element("h3", { id: "analysis-heading" }, "Key and tempo");
  let shown = [];

  return function render({ jobs, analysis }) {
    if (shown[0] === jobs && shown[1] === analysis) return;
    shown = [jobs, analysis];
    const done = (jobs ?? []).find((job) => job.model === "pitch_analysis" && job.status === "completed");
    tile.replaceChildren(heading, ...(done ? found(done) : asked(analysis, actions)));
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

function asked({ status, progress, error }, actions) {
  const running = status === "running";
  const button = element("button", { type: "button", class: "button quiet" }, running ? `Listening… ${progress}%` : "Analyse key and tempo");
  button.disabled = running;
  button.addEventListener("click", actions.analyse);
  return error ? [element("p", { class: "tile-error", role: "alert" }, error), button] : [button];
}
