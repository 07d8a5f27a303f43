/** One song of the queue: its name, how it stands, and what can be done with it. */

import { element, icon, show } from "../dom.js";
import { size, timeLeft } from "../format.js";
import { stageTitle } from "../cards/stage.js";
import { isEnded, isOnServer } from "./entries.js";

const ICONS = { complete: "complete", failed: "warning", cancelled: "stopped" };

/**
 * @param {object} entry as in entries.js
 * @param {object} actions as createQueueActions() gives them
 */
export function createRow(entry, actions) {
  const { id, name } = entry;
  const mark = element("span", { class: "queue-mark", "aria-hidden": "true" });
  const about = element("span", { class: "queue-about" });
  const open = element("button", { type: "button", class: "queue-song" }, mark, element("span", { class: "queue-names" }, element("span", { class: "queue-name", dir: "auto" }, name), about));
  const fill = element("div", { class: "bar-fill" });
  const bar = element("div", { class: "bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  const again = element("button", { type: "button", class: "button quiet small", "aria-label": `Send again: ${name}` }, "Send again");
  const stop = element("button", { type: "button", class: "button quiet small" });
  const row = element("li", { class: "queue-row" }, open, element("span", { class: "queue-tools" }, again, stop), bar);
  let fileId = null;
  let drawn = null;

  open.addEventListener("click", () => actions.open(fileId));
  again.addEventListener("click", () => actions.again(id));
  stop.addEventListener("click", () => actions.cancel(id));

  /** @param {boolean} shown the page shows this song */
  function render(now, shown) {
    const { status, cancelling } = now;
    ({ fileId } = now);
    row.dataset.status = status;
    about.textContent = sentence(now);
    open.disabled = fileId === null;
    if (shown) open.setAttribute("aria-current", "true");
    else open.removeAttribute("aria-current");
    if (drawn !== status) mark.replaceChildren(icon(ICONS[status] ?? "note"));
    drawn = status;
    renderBar(now);
    show(again, status === "failed" && now.file !== null);
    show(stop, !isEnded(now));
    stop.textContent = status === "waiting" ? "Remove" : cancelling ? "Cancelling…" : "Cancel";
    stop.setAttribute("aria-label", `${stop.textContent}: ${name}`);
    stop.disabled = cancelling;
  }

  function renderBar(now) {
    const percent = now.status === "uploading" ? share(now) : now.status === "processing" ? now.progress : null;
    bar.dataset.empty = String(percent === null);
    bar.setAttribute("aria-label", `${now.stage ? stageTitle(now.stage) : "Upload"} of ${name}`);
    bar.setAttribute("aria-valuenow", percent ?? 0);
    bar.setAttribute("aria-hidden", String(percent === null));
    fill.style.width = `${percent ?? 0}%`;
  }

  return { row, render };
}

const share = ({ sent, size: bytes }) => (bytes ? Math.floor((100 * sent) / bytes) : 0);

/** How a song stands, in words. */
function sentence(entry) {
  const { status, sent, error } = entry;
  if (status === "waiting") return `${size(entry.size)}, not sent yet`;
  if (status === "uploading") return sent < entry.size ? `Uploading ${share(entry)}%, ${size(sent)} of ${size(entry.size)}` : "Uploaded, the file is checked…";
  if (status === "queued") return error ?? "Uploaded, waits for its turn";
  if (status === "processing") {
    if (entry.paused) return `${stageTitle(entry.stage)} ${entry.progress}%, paused`;
    const left = entry.etaSeconds === null ? "" : `, ${timeLeft(entry.etaSeconds)}`;
    return error ?? `${stageTitle(entry.stage)} ${entry.progress}%${left}`;
  }
  if (status === "complete") return "Ready";
  return status === "cancelled" ? "Cancelled" : error ?? "Failed";
}

/** What screen readers are told when it has changed. */
export const announcement = (entry) => (isOnServer(entry) || isEnded(entry) ? `${entry.name}: ${sentence(entry)}.` : "");
