/** The karaoke screen: the words, the line that is sung in the middle, each word filled as it is sung. */

import { byId, element, show } from "../dom.js";
import { isCountedIn, lineAt, pieces, sungShare } from "./lyrics.js";

const DOTS = 3; // one for each second before a line
const SUNG_LINE_HEIGHT = 0.42; // of the screen: where the line that is sung has its middle

export function createScreen() {
  const [screen, list, note] = ["karaoke-screen", "karaoke-lines", "karaoke-note"].map(byId);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let lines = []; // those of the sync file, each with its elements
  let current = null;

  new ResizeObserver(() => current && centre(current)).observe(screen);

  /** The line's middle in its place; the others follow. */
  function centre({ row }) {
    const middle = row.offsetTop + row.offsetHeight / 2;
    list.style.transform = `translateY(${Math.round(screen.clientHeight * SUNG_LINE_HEIGHT - middle)}px)`;
  }

  function choose(line) {
    if (line === current) return;
    const index = lines.indexOf(line);
    current?.row.removeAttribute("aria-current");
    lines.forEach(({ row }, other) => (row.dataset.time = other < index ? "sung" : other > index ? "to-come" : "now"));
    line.row.setAttribute("aria-current", "true");
    current = line;
    centre(line);
  }

  return {
    /** @param {object[]} found lines of a sync file; their text goes in as text */
    fill(found) {
      current = null;
      lines = found.map((line, index) => built(line, isCountedIn(found, index)));
      list.replaceChildren(...lines.map(({ row }) => row));
    },

    /** A sentence instead of words. */
    say(sentence) {
      note.textContent = sentence;
      show(note, sentence !== "");
    },

    render(seconds) {
      if (!lines.length) return;
      choose(lines[lineAt(lines, seconds)]);
      const left = Math.ceil(current.start - seconds);
      if (current.countdown) current.countdown.dataset.left = Math.min(Math.max(left, 0), DOTS + 1);
      for (const { word, mark } of current.words) {
        const share = sungShare(word, seconds);
        mark.dataset.sung = share === 1 ? "yes" : share > 0 ? "now" : "no";
        mark.style.setProperty("--sung", calm.matches ? Math.ceil(share) : share.toFixed(3));
      }
    },
  };
}

/** A line with its elements. */
function built(line, countedIn) {
  const cut = pieces(line).map(({ text, word }) => {
    return { word, mark: word ? element("span", { class: "karaoke-word" }, text) : text };
  });
  const dots = Array.from({ length: DOTS }, () => element("i", {}));
  const countdown = countedIn ? element("span", { class: "karaoke-countdown", "aria-hidden": "true" }, ...dots) : null;
  const text = element("p", { dir: "auto" }, ...cut.map(({ mark }) => mark));
  const row = element("li", { class: "karaoke-line" }, ...(countdown ? [countdown] : []), text);
  return { start: line.start, end: line.end, row, countdown, words: cut.filter(({ word }) => word) };
}
