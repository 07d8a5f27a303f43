// A client that knows no more than the ● events, with the vendored socket.io-client under Node:
//   node live_client.mjs URL PCM_FILE RATE SPEED   prints what it heard as JSON: [[event, payload], …]
// SPEED: how often real time; Infinity sends without a pause.

import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";

const [client, url, file, rate, speed] = process.argv.slice(2);
const { io } = await import(client);
const heard = [];
const socket = io(`${url}/transcribe`, { transports: ["websocket"], reconnection: false });
const over = new Promise((resolve) => socket.on("disconnect", resolve));
const connected = new Promise((resolve, reject) => {
  socket.on("connected", resolve);
  socket.on("connect_error", reject);
});
for (const name of ["connected", "transcription", "error", "finished"]) socket.on(name, (payload) => heard.push([name, payload]));
await connected;
const pcm = readFileSync(file);
const bytes = Math.round(Number(rate) / 10) * 2;
for (let at = 0; at < pcm.length; at += bytes) {
  const data = pcm.subarray(at, at + bytes).toString("base64");
  socket.emit("audio", { payload: { data, mimeType: `audio/pcm;rate=${rate}` } });
  await wait(100 / Number(speed));
}
socket.emit("finish");
heard.push(["disconnect", await over]);
console.log(JSON.stringify(heard));
