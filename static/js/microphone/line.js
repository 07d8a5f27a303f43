/** The line to the server: one session of live transcription, namespace /transcribe. */

import { io } from "../../vendor/socket.io.esm.min.js";

const UNREACHABLE = "The server cannot be reached. Is it running?";
const CUT = "The connection to the server ended. What was said until then is below.";

/**
 * @param {{singing: boolean}} options
 * @param {object} on
 * @param {() => void} on.ready sound may be sent
 * @param {(text: string) => void} on.final text that never changes
 * @param {(text: string) => void} on.partial text after it that may change
 * @param {(message: string | null) => void} on.loading what the server waits for; null: no more
 * @param {(message: string) => void} on.problem
 * @param {() => void} on.over nothing follows
 */
export function openLine(options, { ready, final, partial, loading, problem, over }) {
  // A connection of its own: frames of sound hold up nobody's progress. It is not made again, since a session is lost with it.
  const socket = io("/transcribe", { forceNew: true, reconnection: false, transports: ["websocket", "polling"] });
  let finished = false;
  let told = false; // why it ends

  const end = (message) => {
    if (finished) return;
    finished = true;
    if (message && !told) problem(message);
    socket.disconnect();
    over();
  };

  socket.on("connected", () => {
    socket.emit("start", options);
    ready();
  });
  socket.on("final", ({ text }) => final(text));
  socket.on("partial", ({ text }) => partial(text));
  socket.on("loading", ({ message, progress }) => loading(progress === 100 ? null : message));
  socket.on("error", ({ message }) => {
    told = true;
    problem(message);
  });
  socket.on("finished", () => end());
  socket.on("disconnect", () => end(CUT));
  socket.on("connect_error", ({ message, data }) => end(data?.code === "unauthorized" ? message : UNREACHABLE));

  return {
    send: (pcm, rate) => socket.emit("audio", { payload: { data: pcm, mimeType: `audio/pcm;rate=${rate}` } }),
    finish: () => (socket.connected ? socket.emit("finish") : end()),
  };
}
