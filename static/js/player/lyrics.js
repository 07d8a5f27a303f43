/** Where in its words a song stands. Pure functions on the lines of a sync file. */

const HOLD_SECONDS = 0.6; // a sung line stays for so long, or half the rest when that is shorter
const REST_SECONDS = 4; // a silence so long before a line is counted down

/**
 * The line to show at a time: one stays a moment after its end, then the next one is there to be read ahead.
 *
 * @param {{start: number, end: number}[]} lines
 * @param {number} seconds
 * @returns {number} index, 0 before the first line
 */
export function lineAt(lines, seconds) {
  const next = lines.findIndex((_, index) => index > 0 && seconds < shownFrom(lines, index));
  return next === -1 ? Math.max(lines.length - 1, 0) : next - 1;
}

function shownFrom(lines, index) {
  const rest = restBefore(lines, index);
  return lines[index].start - rest + Math.min(HOLD_SECONDS, rest / 2);
}

/** Seconds of silence before a line; none where it overlaps the one before. */
const restBefore = (lines, index) => Math.max(0, lines[index].start - (lines[index - 1]?.end ?? 0));

/** Whether the rest before a line is so long that a singer wants to be counted in. */
export const isCountedIn = (lines, index) => restBefore(lines, index) >= REST_SECONDS;

/** How much of a word is sung, from 0 to 1. */
export function sungShare({ start, end }, seconds) {
  if (seconds >= end) return 1;
  return seconds <= start ? 0 : (seconds - start) / (end - start);
}

/**
 * A line's text cut so that each word can be lit alone. What stands between words is kept as it is, since not every
 * language puts spaces there.
 *
 * @param {{text: string, words: {word: string}[]}} line
 * @returns {{text: string, word: object | null}[]} word: null for what stands between
 */
export function pieces({ text, words }) {
  const cut = [];
  let at = 0;
  for (const word of words) {
    const found = text.indexOf(word.word, at);
    if (found === -1) return spaced(words);
    if (found > at) cut.push({ text: text.slice(at, found), word: null });
    cut.push({ text: word.word, word });
    at = found + word.word.length;
  }
  return at < text.length ? [...cut, { text: text.slice(at), word: null }] : cut;
}

const spaced = (words) => words.flatMap((word) => [{ text: word.word, word }, { text: " ", word: null }]);
