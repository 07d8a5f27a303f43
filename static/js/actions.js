/** What the person at the screen can do, and what the page does by itself when a song ends. */

import { cancelJob, deleteSong, getDemoSong, getModels, getStatistics, getStatus, pauseJob, resumeJob, retryJob } from "./api.js";
import { pacesOf } from "./left.js";
import { withoutEntries } from "./queue/entries.js";
import { isUnderWay, withJobs, withoutSong, withRetry } from "./state.js";
import { withRunningTasks } from "./tasks/tasks.js";
import { createUpload } from "./upload.js";

const REMEMBERED = "song"; // what the upload told of the song; its state comes from the server

/** What this tab knows of a song from its upload, when it is the last one it sent. */
function remembered(fileId) {
  const song = JSON.parse(sessionStorage.getItem(REMEMBERED) ?? "null");
  return song?.file_id === fileId ? song : {};
}

/**
 * @param {ReturnType<import("./store.js").createStore>} store
 * @param {() => void} follow makes the live connection follow the state's song
 */
export function createActions(store, follow) {
  let wanted = null; // the song that resume() is to show

  const upload = createUpload(store, adopt);
  const fail = (error) => store.update((state) => ({ ...state, cancelling: false, pausing: false, problem: error }));

  /** Tells later whether an answer to what is asked now is of use: the song is still shown, and no stage runs again. */
  function inTime() {
    const { generation } = store.state;
    return () => store.state.generation === generation;
  }

  /** The song this page shows, in its address too, so that a reload comes back to it. */
  function adopt(song, past = false) {
    history.replaceState(null, "", `?song=${song.file_id}`);
    sessionStorage.setItem(REMEMBERED, JSON.stringify(song));
    store.update((state) => ({ ...state, song, past, phase: "processing", jobId: song.job_id ?? null, problem: null }));
    follow();
    loadPaces();
  }

  /** How fast earlier songs went; without it no time is told. */
  async function loadPaces() {
    const statistics = await getStatistics().catch(() => ({ stages: [] }));
    store.update((state) => ({ ...state, paces: pacesOf(statistics.stages) }));
  }

  async function loadModels() {
    try {
      const models = await getModels();
      store.update((state) => ({ ...state, models }));
    } catch (error) {
      fail(error);
    }
  }

  function choose(file) {
    wanted = null;
    store.update((state) => ({ ...withoutSong(state), file }));
  }

  /** The demo song as a file; null, and the reason on the page, when it does not come. */
  async function fetchDemo() {
    try {
      return await getDemoSong();
    } catch (error) {
      fail(error);
      return null;
    }
  }

  async function start(variants) {
    const { file } = store.state;
    try {
      await upload.send(file, variants);
    } catch (error) {
      if (error.code !== "cancelled" && store.state.file === file) fail(error);
    }
  }

  async function cancel() {
    if (store.state.phase === "uploading") return upload.abort();
    store.update((state) => ({ ...state, cancelling: true }));
    return cancelJob(store.state.jobId).catch(fail);
  }

  /** Let the song wait where it is; its worker takes others. */
  async function pause() {
    store.update((state) => ({ ...state, pausing: true, problem: null }));
    return pauseJob(store.state.jobId).catch(fail);
  }

  async function goOn() {
    store.update((state) => ({ ...state, problem: null }));
    return resumeJob(store.state.jobId).catch(fail);
  }

  /** Run a failed or cancelled stage again, and what comes after it. */
  async function retry(jobId) {
    const isInTime = inTime();
    try {
      await retryJob(jobId);
      if (isInTime()) store.update((state) => withRetry(state, jobId));
    } catch (error) {
      if (isInTime()) fail(error);
    }
  }

  function reset() {
    wanted = null;
    history.replaceState(null, "", location.pathname);
    store.update(withoutSong);
    follow();
  }

  /** Come back to a song after a reload, or open one from a link. */
  async function resume(fileId) {
    wanted = fileId;
    try {
      const status = await getStatus(fileId);
      if (wanted !== fileId) return; // something else was chosen while it came
      store.update((state) => withRunningTasks(state, status.jobs));
      const past = !isUnderWay(status.status);
      adopt({ ...status, ...remembered(fileId) }, past);
      if (past) finish();
    } catch (error) {
      if (wanted !== fileId) return;
      if (error.status === 404) reset();
      fail(error);
    }
  }

  /** Show another song of the library. */
  function open(fileId) {
    store.update(withoutSong);
    return resume(fileId);
  }

  /** Delete a song with all that was made of it. */
  async function remove(fileId) {
    try {
      await deleteSong(fileId);
      store.update((state) => withoutEntries(state, (entry) => entry.fileId === fileId));
      if (store.state.song?.file_id === fileId) reset();
    } catch (error) {
      fail(error);
    }
  }

  /** Nothing runs any more: show what there is, unless the page has gone on, or a stage runs again, when it comes. */
  async function finish() {
    const { song } = store.state;
    const isInTime = inTime();
    try {
      const { jobs } = await getStatus(song.file_id);
      if (isInTime()) store.update((state) => withJobs(state, jobs));
    } catch (error) {
      if (isInTime()) fail(error);
    }
  }

  return { loadModels, choose, fetchDemo, send: upload.send, start, cancel, pause, goOn, retry, reset, resume, open, remove, finish };
}
