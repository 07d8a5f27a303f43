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
    const unfinished = Object.values(stages).some((stage) => stage.status !== "complete");
    panel.dataset.complete = String(!unfinished);
    mark.setAttribute("href", iconUrl(unfinished ? "warning" : "complete"));
    heading.textContent = title(files.length, unfinished);
    about.textContent = files.length ? `${files.length} files, ${size(total(files))}` : "Nothing was made of this song.";
    archive.href = archiveUrl(song.file_id);
    show(archive, files.length > 0);
  };
}

function title(count, unfinished) {
  if (!unfinished) return "Your song is ready";
  return count ? "Some of your song is ready" : "Processing did not finish";
}

const total = (files) => files.reduce((sum, file) => sum + file.size_bytes, 0);
