/** The head of the results: how it ended, and everything in one archive. */

import { archiveUrl } from "../api.js";
import { byId, iconUrl, show } from "../dom.js";
import { size } from "../format.js";

const MARKS = { complete: "complete", failed: "warning", cancelled: "stopped", none: "note" };

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
    const ended = ending(Object.values(stages));
    panel.dataset.ended = ended;
    mark.setAttribute("href", iconUrl(MARKS[ended]));
    heading.textContent = title(files.length, ended);
    about.textContent = files.length ? `${files.length} files, ${size(total(files))}` : "No files were made.";
    archive.href = archiveUrl(song.file_id);
    show(archive, files.length > 0);
  };
}

/** "complete", "failed", "cancelled", or "none" when nothing was asked for. */
function ending(stages) {
  if (stages.every(({ status }) => status === "complete")) return "complete";
  return ["failed", "cancelled"].find((one) => stages.some(({ status }) => status === one)) ?? "none";
}

function title(count, ended) {
  if (ended === "complete") return "Your song is ready";
  if (count) return "Some of your song is ready";
  return { none: "Not processed yet", cancelled: "Cancelled" }[ended] ?? "Processing did not finish";
}

const total = (files) => files.reduce((sum, file) => sum + file.size_bytes, 0);
