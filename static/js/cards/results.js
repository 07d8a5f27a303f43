/** The head of the results: how it ended, and everything in one archive. */

import { archiveUrl } from "../api.js";
import { byId, iconUrl, show } from "../dom.js";
import { size } from "../format.js";

export function createResults() {
  const [panel, heading, about, archive] = ["results", "results-heading", "results-about", "archive"].map(byId);
  const mark = panel.querySelector(".results-mark use");
  let shown = null;

  return function render({ song, jobs, phase, stages }) {
    const visible = phase === "ended" && jobs !== null;
    show(panel, visible);
    if (!visible || jobs === shown) return;
    shown = jobs;
    const files = jobs.flatMap((job) => job.files ?? []);
    const unfinished = !isComplete(Object.values(stages));
    panel.dataset.complete = String(!unfinished);
    mark.setAttribute("href", iconUrl(unfinished ? "warning" : "complete"));
    heading.textContent = title(files.length, Object.values(stages));
    about.textContent = files.length ? `${files.length} files, ${size(total(files))}` : "No files yet.";
    archive.href = archiveUrl(song.file_id);
    show(archive, files.length > 0);
  };
}

function title(count, stages) {
  if (isComplete(stages)) return "Your song is ready";
  if (count) return "Some of your song is ready";
  return stages.every((stage) => stage.status === "waiting") ? "Not processed yet" : "Processing did not finish";
}

const isComplete = (stages) => stages.every((stage) => stage.status === "complete");

const total = (files) => files.reduce((sum, file) => sum + file.size_bytes, 0);
