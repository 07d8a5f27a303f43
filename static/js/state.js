/**
 * What the page knows, and how each event of the server changes it. Pure functions: state in, state out.
 *
 * phase: "idle" (no song under way), "uploading", "processing" or "ended".
 * A stage's status: "waiting", "processing", "paused", "complete", "failed", "cancelled" or "skipped" (an earlier one it needs failed).
 */

import { size } from "./format.js";
import { isTaskJob, NO_TASKS, withoutSongs } from "./tasks/tasks.js";

export const STAGE_NAMES = ["upload", "separation", "transcription", "karaoke"];

const WAITING = Object.freeze({ status: "waiting", progress: 0, message: "", error: null, etaSeconds: null, note: null, jobId: null });

const PAUSED = "Paused"; // the server's word

/** Whether a song of that status is on its way, as the server names them. */
export const isUnderWay = (status) => ["queued", "processing", "paused"].includes(status);
/** Whether an event says that its job is paused. */
export const isPause = ({ message, error }) => message === PAUSED && !error;
export const isPaused = ({ stages }) => STAGE_NAMES.some((name) => stages[name].status === "paused");

export const INITIAL = Object.freeze({
  connection: "connecting",
  models: null,
  queue: Object.freeze([]), // several songs: queue/entries.js
  file: null,
  song: null,
  phase: "idle",
  cancelling: false,
  pausing: false,
  awaited: false, // its song was under way while this page showed it: its end is news
  jobId: null,
  past: false, // its events that come now are older than what the page shows
  generation: 0, // another one when the page turns to another song, or a stage runs again: what was asked before is out of date
  seq: 0,
  stages: Object.freeze(Object.fromEntries(STAGE_NAMES.map((name) => [name, WAITING]))),
  paces: Object.freeze({}), // of earlier songs: left.js
  outcome: null,
  jobs: null,
  tasks: NO_TASKS, // single models, run on request: tasks/tasks.js
  problem: null,
});

/** The state before a song, with what does not belong to a song kept. */
export function withoutSong(state) {
  const { connection, models, queue, tasks } = state;
  return { ...INITIAL, generation: state.generation + 1, connection, models, queue, tasks: withoutSongs(tasks) };
}

/** One stage changed. */
export function withStage(state, name, change) {
  return { ...state, stages: { ...state.stages, [name]: { ...state.stages[name], ...change } } };
}

/** The live connection stands or is lost; an error that said so goes when it stands again. */
export function withConnection(state, connected) {
  const problem = connected && state.problem?.code === "unreachable" ? null : state.problem;
  return { ...state, problem, connection: connected ? "connected" : "disconnected" };
}

/** The file is on its way: `loaded` of `total` bytes have left in so many seconds. */
export function withUpload(state, loaded, total, seconds) {
  const progress = total ? Math.floor((100 * loaded) / total) : 0;
  const etaSeconds = loaded && loaded < total ? (seconds * (total - loaded)) / loaded : null;
  const message = loaded < total ? `${size(loaded)} of ${size(total)}` : "Checking the file…";
  return withStage(state, "upload", { status: "processing", progress, message, etaSeconds, error: null });
}

/** One `processing_progress` event applied; those of other songs and those seen before change nothing. */
export function withEvent(state, event) {
  if (event.file_id !== state.song?.file_id || event.seq <= state.seq) return state;
  const seen = { ...state, seq: event.seq };
  if (event.stage === "loading") return withLoading(seen, event);
  if (event.stage === "complete") return { ...seen, phase: "ended", cancelling: false, pausing: false, outcome: event };
  return STAGE_NAMES.includes(event.stage) ? withStageEvent(seen, event) : seen;
}

/** Everything has ended: what the jobs made, and the whole of each reason, which an event has to cut. */
export function withJobs(state, jobs) {
  const ended = { ...state, phase: "ended", cancelling: false, pausing: false, jobs };
  const reason = (stage) => jobs.find((job) => job.job_id === stage.jobId && job.status === "failed")?.error?.message;
  return STAGE_NAMES.reduce((next, name) => {
    const whole = state.stages[name].status === "failed" && reason(state.stages[name]);
    return whole ? withStage(next, name, { error: whole }) : next;
  }, ended);
}

/** A failed or cancelled stage shall run again: until its first event it waits, with what comes after it. */
export function withRetry(state, jobId) {
  const at = STAGE_NAMES.findIndex((name) => canRunAgain(state.stages[name], jobId));
  if (at < 0) return state; // an event was faster
  const anew = STAGE_NAMES.slice(at).map((name) => [name, WAITING]);
  const stages = { ...state.stages, ...Object.fromEntries(anew) };
  return { ...state, phase: "processing", problem: null, jobId, stages, generation: state.generation + 1 };
}

/** Every event so far is here, and how the jobs stand: one may wait to run again, which no event tells. */
export function withCaughtUp(state, running, { seq, jobs = [] }) {
  const caughtUp = { ...state, past: false, awaited: state.awaited || running };
  if (state.seq > seq) return caughtUp; // newer events were faster
  const waiting = jobs.filter(({ status }) => status === "queued");
  const again = waiting.find((job) => STAGE_NAMES.some((name) => canRunAgain(state.stages[name], job.job_id)));
  return again ? withRetry(caughtUp, again.job_id) : caughtUp;
}

const canRunAgain = ({ status, jobId }, wanted) => jobId === wanted && ["failed", "cancelled"].includes(status);

/** A stage moved on. One that was started anew takes those after it back to waiting. */
function withStageEvent(state, event) {
  const status = stageStatus(event);
  const stages = { ...state.stages };
  stages[event.stage] = {
    status,
    progress: event.progress,
    message: event.message,
    error: event.error,
    etaSeconds: event.eta_seconds ?? null,
    note: null,
    jobId: event.job_id,
  };
  const active = ["processing", "paused"].includes(status);
  if (active) {
    for (const later of STAGE_NAMES.slice(STAGE_NAMES.indexOf(event.stage) + 1)) stages[later] = WAITING;
  }
  const running = active || event.stage === "upload";
  const runs = running && !state.past;
  return {
    ...state,
    stages,
    generation: runs && state.phase === "ended" ? state.generation + 1 : state.generation,
    jobId: running ? event.job_id : state.jobId,
    phase: runs ? "processing" : state.phase,
    outcome: running ? null : state.outcome,
    pausing: state.pausing && status !== "paused",
  };
}

/** A model is fetched or loaded: a note on the card that comes next. */
function withLoading(state, event) {
  if (state.phase === "ended" || isTaskJob(state, event.job_id)) return state;
  const next = STAGE_NAMES.find((name) => ["waiting", "processing"].includes(state.stages[name].status));
  if (!next) return state;
  const note = event.progress < 100 ? { message: event.message, progress: event.progress } : null;
  return { ...withStage(state, next, { note }), jobId: event.job_id };
}

/** How a stage stands after an event. */
function stageStatus({ progress, message, error }) {
  if (isPause({ message, error })) return "paused";
  if (!error) return progress < 100 ? "processing" : "complete";
  if (message.endsWith("cancelled")) return "cancelled";
  return error.startsWith("Not started") ? "skipped" : "failed";
}
