/** How the server's statistics read. */

const STAGE_TITLES = {
  separation: "Separation",
  transcription: "Transcription",
  karaoke: "Karaoke",
  generation: "Generation",
  analysis: "Analysis",
};

export const NONE = "–"; // where there is nothing to measure

export const stageTitle = ({ stage }) => STAGE_TITLES[stage] ?? stage;
export const key = ({ stage, model }) => `${stage} ${model}`;
export const ended = ({ completed, failed, cancelled }) => completed + failed + cancelled;
export const known = (counts) => ended(counts) + counts.running + counts.queued + counts.paused;

/** 0.985 → "98.5%"; what is not all never reads as all. */
export function percent(share) {
  if (share === null) return NONE;
  const shown = Math.floor(share * 1000) / 10;
  return `${shown}%`;
}

/** 0.42 → "420 ms", 4.2 → "4.2 s", 192 → "3 min 12 s". */
export function elapsed(seconds) {
  if (seconds === null) return NONE;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

/** 1 → "1 job". */
export const jobs = (count) => `${count} ${count === 1 ? "job" : "jobs"}`;
