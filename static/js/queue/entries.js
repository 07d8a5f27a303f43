/**
 * Several songs, sent one after another. Pure functions of the page's state and of its `queue`, a list of entries.
 *
 * An entry's status: "waiting" (not sent yet), "uploading", "queued" (on the server, where others come first),
 * "processing" (then perhaps `paused`), "complete", "failed" or "cancelled".
 */

import { isPause } from "../state.js";

const STAGES = ["separation", "transcription", "karaoke"];
const ENDED = ["complete", "failed", "cancelled"];
const RUNNING = ["queued", "processing"];

let made = 0;

const UNSENT = Object.freeze({
  status: "waiting", sent: 0, startedAt: null, fileId: null, jobId: null, seq: 0, stage: null, progress: 0, paused: false, etaSeconds: null, error: null, cancelling: false,
  awaited: true, // false until it is known whether its song had ended before this page opened
});

export const isEnded = ({ status }) => ENDED.includes(status);
export const isOnServer = ({ status }) => RUNNING.includes(status);
export const isSending = (queue) => queue.some(({ status }) => status === "uploading");
export const nextWaiting = (queue) => queue.find(({ status }) => status === "waiting");
export const count = (queue, ...statuses) => queue.filter(({ status }) => statuses.includes(status)).length;

/** Files at the end of the queue. */
export function withFiles(state, files) {
  const added = files.map((file) => ({ ...UNSENT, id: ++made, file, name: file.name, size: file.size }));
  return { ...state, queue: [...state.queue, ...added] };
}

/** Songs that this tab sent before a reload; what became of them comes as events. */
export function withSent(state, songs) {
  const known = songs.map((song) => ({ ...UNSENT, ...song, id: ++made, file: null, sent: song.size, status: "queued", awaited: false }));
  return { ...state, queue: [...known, ...state.queue] };
}

/** One entry changed. */
export function withEntry(state, id, change) {
  return { ...state, queue: state.queue.map((entry) => (entry.id === id ? { ...entry, ...change } : entry)) };
}

/** Without the entries of which `gone` is true. */
export function withoutEntries(state, gone) {
  return state.queue.some(gone) ? { ...state, queue: state.queue.filter((entry) => !gone(entry)) } : state;
}

/** One `processing_progress` event applied to the entry of its song, if there is one. */
export function withQueueEvent(state, event) {
  const entry = state.queue.find(({ fileId }) => fileId !== null && fileId === event.file_id);
  if (!entry || event.seq <= entry.seq) return state;
  return withEntry(state, entry.id, { seq: event.seq, ...changed(event) });
}

/** How an entry stands when its song is done with, told with the acknowledgement of its events. */
export function withSongStatus(state, { file_id, status }) {
  const entry = state.queue.find(({ fileId }) => fileId !== null && fileId === file_id);
  if (!entry) return state;
  if (status === "unknown") return withoutEntries(state, ({ id }) => id === entry.id); // deleted elsewhere
  const ended = { completed: "complete", failed: "failed", cancelled: "cancelled" }[status];
  if (!ended) return withEntry(state, entry.id, { awaited: true });
  return isEnded(entry) ? state : withEntry(state, entry.id, { status: ended, cancelling: false });
}

/** What an event says of its song as a whole. */
function changed({ stage, progress, message, error, eta_seconds: etaSeconds = null }) {
  if (stage === "complete") return { status: ending(message, error), stage: null, etaSeconds: null, cancelling: false, error };
  if (!STAGES.includes(stage) || progress === 100) return {};
  return { status: "processing", stage, progress, paused: isPause({ message, error }), etaSeconds, error: null };
}

function ending(message, error) {
  if (!error) return "complete";
  return message.endsWith("cancelled") ? "cancelled" : "failed";
}

/**
 * The uploads as a whole. An upload that was refused or cancelled is over, so its bytes count as done.
 *
 * @returns {{bytes: number, total: number, secondsLeft: number | null}} seconds by the rate of the upload under way
 */
export function uploads(queue, now) {
  const over = ({ status, sent, size }) => (["waiting", "uploading"].includes(status) ? sent : size);
  const sum = (of) => queue.reduce((total, entry) => total + of(entry), 0);
  const [bytes, total] = [sum(over), sum(({ size }) => size)];
  const current = queue.find(({ status }) => status === "uploading");
  const rate = current?.sent ? current.sent / ((now - current.startedAt) / 1000) : 0;
  return { bytes, total, secondsLeft: rate && bytes < total ? (total - bytes) / rate : null };
}
