/** The queue of songs: a row for each, and the uploads as a whole. */

import { byId, show, withFocus } from "../dom.js";
import { size, songs, timeLeft } from "../format.js";
import { count, isEnded, isSending, uploads } from "./entries.js";
import { announcement, createRow } from "./row.js";

const NEXT = ["queue-add", "file", "cancel", "another"]; // takes the focus when its row or the whole queue has gone

export function createQueue(actions) {
  const [section, list, about, detail] = ["queue", "queue-songs", "queue-about", "queue-detail"].map(byId);
  const [bar, stop, clear, announcer] = ["queue-bar", "queue-cancel", "queue-clear", "queue-announcer"].map(byId);
  const fill = bar.querySelector(".bar-fill");
  let rows = new Map();
  let told = new Map(); // status of each entry that was last told

  stop.addEventListener("click", actions.cancelAll);
  clear.addEventListener("click", actions.clear);

  function renderRows(queue, shownId) {
    const before = rows;
    rows = new Map(queue.map((entry) => [entry.id, before.get(entry.id) ?? createRow(entry, actions)]));
    for (const [id, { row }] of before) if (!rows.has(id)) row.remove();
    queue.forEach((entry, index) => {
      const { row, render } = rows.get(entry.id);
      if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
      render(entry, entry.fileId !== null && entry.fileId === shownId);
    });
  }

  function renderHead(queue) {
    const { bytes, total, secondsLeft } = uploads(queue, performance.now());
    const percent = total ? Math.floor((100 * bytes) / total) : 0;
    const sending = isSending(queue);
    about.textContent = summary(queue);
    detail.textContent = `${size(bytes)} of ${size(total)} uploaded${secondsLeft === null ? "" : `, ${timeLeft(secondsLeft)}`}`;
    fill.style.width = `${percent}%`;
    bar.setAttribute("aria-valuenow", percent);
    for (const part of [bar, detail]) show(part, sending);
    show(stop, !queue.every(isEnded));
    stop.textContent = sending || count(queue, "queued", "processing") ? "Cancel all" : "Remove all";
    show(clear, queue.some(isEnded));
  }

  function tell(queue) {
    const changed = queue.filter(({ id, status }) => told.get(id) !== status).map(announcement);
    told = new Map(queue.map(({ id, status }) => [id, status]));
    if (changed.join("")) announcer.textContent = changed.join(" ");
  }

  let last = [];
  return function render({ queue, song }) {
    if (last[0] === queue && last[1] === song) return;
    last = [queue, song];
    withFocus([section], () => change(queue, song), (had) => [...(had.closest(".queue-row")?.querySelectorAll("button") ?? []), ...NEXT.map(byId)]);
  };

  function change(queue, song) {
    show(section, queue.length > 0);
    renderRows(queue, song?.file_id);
    renderHead(queue);
    tell(queue);
  }
}

/** "2 of 5 uploaded · 1 ready · 1 failed". */
function summary(queue) {
  const [waiting, uploading] = [count(queue, "waiting"), count(queue, "uploading")];
  if (waiting === queue.length) return `${songs(waiting)}, ${size(queue.reduce((sum, entry) => sum + entry.size, 0))}`;
  const uploaded = queue.filter(({ fileId }) => fileId !== null).length;
  const parts = waiting || uploading ? [`${uploaded} of ${queue.length} uploaded`] : [songs(queue.length)];
  for (const [status, word] of [["processing", "processing"], ["complete", "ready"], ["failed", "failed"], ["cancelled", "cancelled"]]) {
    if (count(queue, status)) parts.push(`${count(queue, status)} ${word}`);
  }
  return parts.join(" · ");
}
