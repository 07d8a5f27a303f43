/** The live connection: says whether it stands, subscribes to the wanted songs, and hands on their events. */

import { io } from "../vendor/socket.io.esm.min.js";
import { noteStatus } from "./api.js";

const RECONNECT_AFTER_MS = 500;
const RECONNECT_AFTER_MAX_MS = 2000;

/**
 * @param {object} on
 * @param {(connected: boolean) => void} on.connection
 * @param {(event: object) => void} on.event every `processing_progress` payload
 * @param {(status: {file_id: string, status: string}) => void} on.caughtUp every event so far of a followed song was handed on
 * @param {() => Map<string, number>} on.wanted the songs to follow, each with the last event known of it
 */
export function connect({ connection, event, caughtUp, wanted }) {
  const socket = io({ reconnectionDelay: RECONNECT_AFTER_MS, reconnectionDelayMax: RECONNECT_AFTER_MAX_MS });
  let followed = [];

  /** Ask for the wanted songs' events, those that were missed included. */
  function subscribe() {
    if (!socket.connected) return;
    const songs = wanted();
    for (const [fileId, seq] of songs) socket.emit("subscribe", { file_id: fileId, since_seq: seq }, caughtUp);
    for (const fileId of followed) if (!songs.has(fileId)) socket.emit("unsubscribe", { file_id: fileId });
    followed = [...songs.keys()];
  }

  socket.on("connect", () => {
    followed = []; // the server forgets a connection's subscriptions with the connection
    connection(true);
    subscribe();
  });
  socket.on("disconnect", () => connection(false));
  socket.on("connect_error", (error) => {
    connection(false);
    if (error.data?.code === "unauthorized") noteStatus(401);
  });
  socket.on("processing_progress", event);
  return { subscribe };
}
