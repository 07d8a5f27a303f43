/** Sending the file that the page shows. */

import { uploadSong } from "./api.js";
import { withoutSong, withStage, withUpload } from "./state.js";

/**
 * @param {ReturnType<import("./store.js").createStore>} store
 * @param {(song: object) => void} arrived the song is on the server, and the page still shows it
 */
export function createUpload(store, arrived) {
  let running = null;

  /** Send a file and show its song, unless the page has gone on to another meanwhile; throws when it does not arrive. */
  async function send(file, variants, onSent = () => {}) {
    const shown = () => store.state.file === file && store.state.phase === "uploading";
    running = new AbortController();
    store.update((state) => ({ ...withUpload(withoutSong(state), 0, file.size, 0), file, phase: "uploading" }));
    const began = performance.now();
    const sent = (loaded, total) => {
      onSent(loaded, total);
      if (shown()) store.update((state) => withUpload(state, loaded, total, (performance.now() - began) / 1000));
    };
    try {
      const song = await uploadSong(file, variants, sent, running.signal);
      if (!shown()) return song;
      store.update((state) => withStage(state, "upload", { status: "complete", progress: 100, message: "" }));
      arrived({ ...song, variants });
      return song;
    } catch (error) {
      const status = error.code === "cancelled" ? "cancelled" : "failed";
      const change = { status, progress: 100, error: error.message };
      if (shown()) store.update((state) => withStage({ ...state, phase: "idle" }, "upload", change));
      throw error;
    }
  }

  return { send, abort: () => running.abort() };
}
