/** Numbers and names as people read them. */

const KILO = 1000;

/** 1500 → "1.5 kB". */
export function size(bytes) {
  if (bytes < KILO) return `${bytes} B`;
  const units = ["kB", "MB", "GB"];
  const power = Math.min(Math.floor(Math.log(bytes) / Math.log(KILO)), units.length);
  const value = bytes / KILO ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power - 1]}`;
}

/** 192.4 → "3:12". */
export function duration(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** 44100 → "44.1 kHz". */
export const sampleRate = (hertz) => `${hertz / 1000} kHz`;

/** 1 → "Mono". */
export const channels = (count) => ({ 1: "Mono", 2: "Stereo" })[count] ?? `${count} channels`;

/** A measured estimate, rounded so that it does not jitter: 38.2 → "about 40 s left". */
export function timeLeft(seconds) {
  if (seconds < 5) return "seconds left";
  if (seconds < 60) return `about ${Math.ceil(seconds / 5) * 5} s left`;
  return `about ${Math.round(seconds / 60)} min left`;
}

/** The server's three dots as one sign, as the page writes them. */
export const sentence = (text) => text.replaceAll("...", "…");

/** "take.FLAC" → "FLAC". */
export const extension = (filename) => (filename.includes(".") ? filename.split(".").pop().toUpperCase() : "");

/** The name without its extension. */
export const stem = (filename) => filename.replace(/\.[^.]*$/, "");

/** "no_vocals" → "No vocals". */
export function words(name) {
  const spaced = name.replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

/** 3 → "3 songs". */
export const songs = (number) => (number === 1 ? "1 song" : `${number} songs`);
