/** How long the shown song still takes, as far as it was measured. Pure functions. */

import { STAGE_NAMES } from "./state.js";

const MODELS = { separation: "demucs", transcription: "whisper", karaoke: "karaoke" };

/** The variant that a stage of a song will run: as this page's upload asked for it. */
const VARIANT_OF = {
  separation: (song) => song.variants?.model_variant,
  transcription: (song) => song.variants?.transcription_model_variant,
  karaoke: () => "full",
};

/**
 * How fast earlier songs went through the stages.
 *
 * @param {object[]} stages of `GET /jobs/statistics`
 * @returns {Record<string, Record<string, number>>} seconds for each second of a song, by stage and variant; what was
 *   never measured is left out
 */
export function pacesOf(stages) {
  const ours = stages.filter(({ stage, model }) => MODELS[stage] === model);
  return Object.fromEntries(ours.map(({ stage, run_seconds_per_song_second_by_variant: paces }) => [stage, paces]));
}

/**
 * Seconds until the song is ready: what the server measured of the stage that runs, and for each that is to come the
 * pace of earlier songs with the same variant; null as long as one of them is not known.
 */
export function secondsLeft({ phase, stages, song, paces }) {
  const running = STAGE_NAMES.find((name) => stages[name].status === "processing");
  if (phase !== "processing" || !running || stages[running].etaSeconds === null || stages[running].note) return null;
  const toCome = STAGE_NAMES.slice(STAGE_NAMES.indexOf(running) + 1);
  return toCome.reduce((sum, name) => {
    const seconds = paces[name]?.[VARIANT_OF[name](song)] * song.duration_seconds; // NaN when one of them is missing
    return sum === null || !Number.isFinite(seconds) ? null : sum + seconds;
  }, stages[running].etaSeconds);
}
