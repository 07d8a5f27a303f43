/** The live connection: says whether it stands, subscribes to one song, and hands on its events. */

import { io } from "../vendor/socket.io.esm.min.js";

const RECONNECT_AFTER_MS = 500;
const RECONNECT_AFTER_MAX_MS = 2000;

/**
 * @param {object} on
 * @param {(connected: boolean) => void} on.connection
 * @param {(event: object) => void} on.event every `processing_progress` payload
 * @param {(status: {file_id: string, status: string}) => void} on.caughtUp every event so far of the followed song was handed on
 * @param {() => {fileId: string, seq: number} | null} on.wanted the song to follow, and the last event known of it
 */
export function connect({ connection, event, caughtUp, wanted }) {
  const socket = io({ reconnectionDelay: RECONNECT_AFTER_MS, reconnectionDelayMax: RECONNECT_AFTER_MAX_MS });
  let followed = null;

  /** Ask for the wanted song's events, those that were missed included. */
  function subscribe() {
    const song = wanted();
    if (!socket.connected) return;
    if (followed && followed !== song?.fileId) socket.emit("unsubscribe", { file_id: followed });
    followed = song?.fileId ?? null;
    if (song) socket.emit("subscribe", { file_id: song.fileId, since_seq: song.seq }, caughtUp);
  }

  socket.on("connect", () => {
    followed = null; // the server forgets a connection's subscriptions with the connection
    connection(true);
    subscribe();
  });
  socket.on("disconnect", () => connection(false));
  socket.on("connect_error", () => connection(false));
  socket.on("processing_progress", event);
  return { subscribe };
}
