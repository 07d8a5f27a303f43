/** One line over the stages: where the song stands as a whole. */

import { byId } from "../dom.js";
import { timeLeft } from "../format.js";
import { secondsLeft } from "../left.js";
import { nextWaiting } from "../queue/entries.js";
import { isPaused, STAGE_NAMES } from "../state.js";
import { stageTitle } from "./stage.js";

const ENDINGS = [
  { status: "cancelled", words: "Cancelled" },
  { status: "failed", words: "Ended with a failure" },
];
const has = (stages, status) => STAGE_NAMES.some((name) => stages[name].status === status);

export function createSummary() {
  const line = byId("progress-summary");

  return function render(state) {
    line.textContent = sentence(state);
  };
}

function sentence(state) {
  const { phase, stages, connection, file, queue } = state;
  if (phase === "idle") return beginning(stages.upload.status, file !== null || nextWaiting(queue) !== undefined);
  if (phase === "ended") return ENDINGS.find(({ status }) => has(stages, status))?.words ?? "Finished";
  if (connection === "disconnected") return "Connection lost; this page catches up by itself once the server answers";
  const current = STAGE_NAMES.find((name) => ["processing", "paused", "waiting"].includes(stages[name].status));
  const paused = isPaused(state) ? "Paused in step" : "Step";
  return current ? `${paused} ${STAGE_NAMES.indexOf(current) + 1} of ${STAGE_NAMES.length}: ${stageTitle(current)}${left(state)}` : "";
}

/** Before anything runs: an upload that did not arrive is named first. */
function beginning(upload, ready) {
  if (upload === "failed") return "The upload failed";
  if (upload === "cancelled") return "Upload cancelled";
  return ready ? "Ready to start" : "Starts when you choose a song";
}

/** The time for all that is to come, when it was measured. */
function left(state) {
  const seconds = secondsLeft(state);
  return seconds === null ? "" : `, ${timeLeft(seconds)} in all at the pace of earlier songs`;
}
