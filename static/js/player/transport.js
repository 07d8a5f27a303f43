/** Play and pause, where the song stands, and the line to seek on. */

import { byId, iconUrl } from "../dom.js";
import { duration as clock } from "../format.js";

/**
 * @param {object} on
 * @param {() => void} on.toggle
 * @param {(seconds: number) => void} on.seek
 */
export function createTransport(on) {
  const [play, seek, now, total] = ["play", "seek", "player-now", "player-total"].map(byId);
  const drawing = play.querySelector("use");
  let held = false; // the thumb is being dragged: the song's own progress waits

  play.addEventListener("click", on.toggle);
  seek.addEventListener("input", () => {
    held = true;
    showTime(Number(seek.value));
  });
  seek.addEventListener("change", () => {
    held = false;
    on.seek(Number(seek.value));
  });

  function showTime(seconds) {
    const rounded = clock(Math.floor(seconds));
    seek.style.setProperty("--filled", `${(100 * seconds) / (Number(seek.max) || 1)}%`);
    if (now.textContent === rounded) return;
    now.textContent = rounded;
    seek.setAttribute("aria-valuetext", `${rounded} of ${total.textContent}`);
  }

  return {
    focus: () => seek.focus({ preventScroll: true }),

    /** @param {{playing: boolean, waiting: boolean}} state waiting: it will play once the stems are here */
    renderState({ playing, waiting }) {
      play.dataset.state = waiting ? "waiting" : playing ? "playing" : "paused";
      play.setAttribute("aria-label", waiting ? "Loading, press to stop" : playing ? "Pause" : "Play");
      drawing.setAttribute("href", iconUrl(playing || waiting ? "pause" : "play"));
    },

    /** @param {number | undefined} seconds undefined while it is not known */
    renderDuration(seconds) {
      seek.max = seconds ?? 0;
      total.textContent = seconds === undefined ? "–:––" : clock(Math.floor(seconds));
      seek.setAttribute("aria-valuetext", `${now.textContent} of ${total.textContent}`);
    },

    renderPosition(seconds) {
      if (held) return;
      seek.value = seconds;
      showTime(seconds);
    },
  };
}
