/** What can be done with the queue: add, send, follow, remove, cancel. */

import { cancelJob, uploadSong } from "../api.js";
import { chosenVariants } from "../cards/options.js";
import { isEnded, isSending, nextWaiting, withEntry, withFiles, withoutEntries, withSent } from "./entries.js";

const KEPT = "queue"; // songs that were sent: a reload finds them again

/** The server does not want this file, now or later; all else may pass. */
const isRefusal = ({ status }) => status >= 400 && status < 500 && status !== 429;

/**
 * @param {ReturnType<import("../store.js").createStore>} store
 * @param {ReturnType<import("../actions.js").createActions>} actions of the song that the page shows
 * @param {() => void} follow makes the live connection follow the queue's songs too
 */
export function createQueueActions(store, actions, follow) {
  let upload = null; // of the entry that is being sent without being shown
  const put = (id, change) => store.update((state) => withEntry(state, id, change));
  const entry = (id) => store.state.queue.find((one) => one.id === id);

  /** Files were chosen or dropped: one alone is the page's song, several are a queue; so is one beside a song under way. */
  function take(files) {
    if (store.state.phase === "ended" && !store.state.queue.length) actions.reset(); // they are the next song
    const { queue, phase } = store.state;
    const idle = phase === "idle";
    if (files.length === 1 && !queue.length && idle) return actions.choose(files[0]);
    store.update((state) => withFiles({ ...state, file: idle ? null : state.file }, files));
    return idle ? null : send();
  }

  /** Send what waits, one after another; the first that arrives is shown, unless the page shows another song. */
  async function send() {
    if (isSending(store.state.queue)) return;
    const variants = chosenVariants();
    let leading = true;
    for (let next; (next = nextWaiting(store.state.queue)); ) {
      const song = await sendOne(next, variants, leading && store.state.phase === "idle");
      if (song) leading = false;
    }
  }

  /** Send one; the song, or null when it was refused or cancelled. */
  async function sendOne({ id, file }, variants, shown) {
    put(id, { status: "uploading", sent: 0, startedAt: performance.now(), error: null });
    const sent = (loaded, total) => put(id, { sent: Math.min(file.size, Math.round((file.size * loaded) / total)) });
    try {
      const song = await (shown ? actions.send(file, variants, sent) : sendUnseen(file, variants, sent));
      put(id, { status: "queued", sent: file.size, fileId: song.file_id, jobId: song.job_id, file: null });
      keep();
      follow();
      return song;
    } catch (error) {
      const status = error.code === "cancelled" ? "cancelled" : "failed";
      put(id, { status, error: error.message, file: isRefusal(error) ? null : file });
      if (shown) store.update((state) => (state.file === file ? { ...state, file: null, problem: null } : state)); // its row says it
      return null;
    }
  }

  function sendUnseen(file, variants, sent) {
    upload = new AbortController();
    return uploadSong(file, variants, sent, upload.signal);
  }

  async function cancel(id) {
    const { status, file, jobId } = entry(id);
    if (status === "waiting") return store.update((state) => withoutEntries(state, (one) => one.id === id));
    if (status === "uploading") return file === store.state.file ? actions.cancel() : upload.abort();
    put(id, { cancelling: true });
    try {
      await cancelJob(jobId);
    } catch (error) {
      put(id, { cancelling: false, error: error.message });
    }
  }

  /** What is not sent yet leaves the queue, what is under way is cancelled. */
  function cancelAll() {
    store.update((state) => withoutEntries(state, ({ status }) => status === "waiting"));
    for (const { id } of store.state.queue.filter((one) => !isEnded(one))) cancel(id);
  }

  /** Send again what did not arrive. */
  function again(id) {
    put(id, { status: "waiting", error: null, sent: 0 });
    return send();
  }

  function clear() {
    store.update((state) => withoutEntries(state, isEnded));
    keep();
    follow();
  }

  function keep() {
    const sent = store.state.queue.filter(({ fileId }) => fileId);
    sessionStorage.setItem(KEPT, JSON.stringify(sent.map(({ fileId, jobId, name, size }) => ({ fileId, jobId, name, size }))));
  }

  addEventListener("beforeunload", (event) => {
    if (isSending(store.state.queue)) event.preventDefault(); // what is not sent yet does not outlive the page
  });
  store.update((state) => withSent(state, JSON.parse(sessionStorage.getItem(KEPT) ?? "[]")));

  return { take, send, cancel, cancelAll, again, clear, open: actions.open };
}
