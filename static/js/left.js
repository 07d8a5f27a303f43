/** How long the shown song still takes, as far as it was measured. Pure functions. */

import { STAGE_NAMES } from "./state.js";

const MODELS = { separation: "demucs", transcription: "whisper", karaoke: "karaoke" };

/**
 * How fast earlier songs went through the stages.
 *
 * @param {object[]} stages of `GET /jobs/statistics`
 * @returns {Record<string, number>} seconds for each second of a song; stages without a completed job are left out
 */
export function pacesOf(stages) {
  const ours = stages.filter(({ stage, model, run_seconds_per_song_second: pace }) => MODELS[stage] === model && pace !== null);
  return Object.fromEntries(ours.map(({ stage, run_seconds_per_song_second: pace }) => [stage, pace]));
}

/**
 * Seconds until the song is ready: what the server measured of the stage that runs, and for each that is to come the
 * pace of earlier songs; null as long as one of them is not known.
 */
export function secondsLeft({ phase, stages, song, paces }) {
  const running = STAGE_NAMES.find((name) => stages[name].status === "processing");
  if (phase !== "processing" || !running || stages[running].etaSeconds === null || stages[running].note) return null;
  const toCome = STAGE_NAMES.slice(STAGE_NAMES.indexOf(running) + 1);
  return toCome.reduce((sum, name) => {
    const seconds = paces[name] * song.duration_seconds; // NaN when one of them is missing
    return sum === null || !Number.isFinite(seconds) ? null : sum + seconds;
  }, stages[running].etaSeconds);
}
