/**
 * Single models run on request: key and tempo, music from text, Gemma. Pure functions of the page's state and its `tasks`.
 *
 * A task's status: "none", "asked" (the request is on its way), "running", "ended" (its result is on its way),
 * "completed", "failed" or "cancelled".
 */

const MODELS = { analysis: "pitch_analysis", music: "musicgen", gemma: "gemma_3n" };
const ACTIVE = ["queued", "running", "paused"];
const ON_THE_WAY = ["asked", "running", "ended"];

const NONE = Object.freeze({
  status: "none", fileId: null, jobId: null, seq: 0, progress: 0, message: "", note: null, etaSeconds: null, error: null,
  details: null, cancelling: false, job: null,
});

export const NO_TASKS = Object.freeze(Object.fromEntries(Object.keys(MODELS).map((name) => [name, NONE])));

export const isOnTheWay = ({ status }) => ON_THE_WAY.includes(status);
export const namesOf = (tasks, status) => Object.keys(tasks).filter((name) => tasks[name].status === status);
export const isTaskJob = ({ tasks }, jobId) => Object.values(tasks).some((task) => task.jobId === jobId);

/** Those that do not belong to a song. */
export const withoutSongs = (tasks) => ({ ...NO_TASKS, music: tasks.music });

/** One task changed. */
export function withTask(state, name, change) {
  return { ...state, tasks: { ...state.tasks, [name]: { ...state.tasks[name], ...change } } };
}

/** A task from its beginning. */
export const withNewTask = (state, name) => withTask(state, name, { ...NONE, status: "asked" });

/** The tasks that run on a song, as `GET /status/<file_id>` tells: a reload finds them again. */
export function withRunningTasks(state, jobs) {
  const running = (name) => jobs.find((job) => job.model === MODELS[name] && ACTIVE.includes(job.status) && !job.pipeline_id);
  return Object.keys(MODELS).reduce((next, name) => {
    const job = running(name);
    return job ? withTask(next, name, { ...NONE, status: "running", fileId: job.file_id, jobId: job.job_id }) : next;
  }, state);
}

/** The songs whose events the running tasks need, each with the last one known. */
export function wantedByTasks(tasks) {
  return Object.values(tasks).filter(({ status }) => status === "running").map(({ fileId, seq }) => [fileId, seq]);
}

/** One `processing_progress` event applied to the task whose job it is of, if there is one. */
export function withTaskEvent(state, event) {
  const name = namesOf(state.tasks, "running").find((one) => state.tasks[one].jobId === event.job_id);
  if (!name || event.seq <= state.tasks[name].seq) return state;
  return withTask(state, name, { seq: event.seq, ...changed(event) });
}

function changed({ stage, progress, message, error, eta_seconds: etaSeconds = null }) {
  if (stage === "loading") return { note: progress < 100 ? message : null, progress: progress < 100 ? progress : 0, etaSeconds };
  if (stage === "complete") return {};
  return { status: progress === 100 ? "ended" : "running", note: null, progress, message, error, etaSeconds };
}

/** The record of a task's job: how it ended, and the whole of a reason, which an event has to cut. */
export function withTaskJob(state, name, job) {
  const { message = null, details = null } = job.error ?? {};
  return withTask(state, name, { status: job.status, job, error: message, details, cancelling: false });
}
