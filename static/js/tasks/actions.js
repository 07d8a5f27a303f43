/** Running a single model: ask, follow, fetch the result, cancel. */

import { cancelJob, getJob } from "../api.js";
import { namesOf, withNewTask, withTask, withTaskJob } from "./tasks.js";

/**
 * @param {ReturnType<import("../store.js").createStore>} store
 * @param {() => void} follow makes the live connection follow the running tasks
 * @param {() => void} changed the shown song has another result
 */
export function createTaskActions(store, follow, changed) {
  const put = (name, change) => store.update((state) => withTask(state, name, change));
  const ofJob = (name, jobId) => store.state.tasks[name].jobId === jobId; // the page may have gone on

  /**
   * Start a task.
   *
   * @param {string} name
   * @param {() => Promise<object>} ask its request: answers which job it is, or with the result that was there
   */
  async function run(name, ask) {
    store.update((state) => withNewTask(state, name));
    try {
      const { job_id: jobId, file_id: fileId, status } = await ask();
      put(name, { status: status === "completed" ? "ended" : "running", jobId, fileId });
      follow();
    } catch (error) {
      put(name, { status: "failed", error: error.message, details: error.details });
    }
  }

  async function collect(name) {
    const { jobId, fileId } = store.state.tasks[name];
    try {
      const job = await getJob(jobId);
      if (ofJob(name, jobId)) store.update((state) => withTaskJob(state, name, job));
    } catch (error) {
      if (ofJob(name, jobId)) put(name, { status: "failed", error: error.message, details: error.details });
    }
    if (store.state.phase === "ended" && store.state.song?.file_id === fileId) changed();
  }

  async function cancel(name) {
    put(name, { cancelling: true });
    try {
      await cancelJob(store.state.tasks[name].jobId);
    } catch (error) {
      put(name, { cancelling: false, error: error.message });
    }
  }

  const collecting = new Set(); // jobs whose results are being fetched
  store.watch(({ tasks }) => tasks, (tasks) => {
    for (const name of namesOf(tasks, "ended")) {
      const { jobId } = tasks[name];
      if (collecting.has(jobId)) continue;
      collecting.add(jobId);
      collect(name).finally(() => collecting.delete(jobId));
    }
  });

  return { run, cancel };
}
