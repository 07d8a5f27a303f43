/** The karaoke view: opens over the transport, takes the vocals away, and follows the player's clock. */

import { ApiError } from "../api.js";
import { byId, show } from "../dom.js";
import { createFullView } from "./full_view.js";
import { createScreen } from "./screen.js";

const NO_WORDS = "No words were heard in this song, so there is nothing to sing along to.";
const LOST = "The words could not be loaded. Check that the server runs, then close and open karaoke again.";

/**
 * @param {object} on
 * @param {(open: boolean) => void} on.open it was opened or closed
 * @param {() => void} on.vocals the vocals are to be heard, or no longer
 */
export function createKaraoke(on) {
  const [stage, view, button, vocals] = ["player-stage", "karaoke", "show-karaoke", "karaoke-vocals"].map(byId);
  const screen = createScreen();
  const full = createFullView(stage, byId("karaoke-full"));
  let karaoke = null; // the package
  let filled = null; // the package whose words are there

  button.addEventListener("click", () => open(view.hidden));
  vocals.addEventListener("click", on.vocals);

  function open(wanted) {
    if (wanted === !view.hidden) return;
    show(view, wanted);
    button.setAttribute("aria-pressed", wanted);
    stage.dataset.karaoke = wanted;
    if (wanted) fill();
    else full.leave();
    on.open(wanted);
  }

  async function fill() {
    if (filled === karaoke) return;
    const mine = (filled = karaoke);
    screen.fill([]);
    screen.say("Loading the words…");
    try {
      const { lines } = mine.url ? await sync(mine.url) : { lines: [] };
      if (mine !== karaoke) return;
      screen.say(lines.length ? "" : mine.message || NO_WORDS);
      screen.fill(lines);
    } catch (error) {
      if (mine !== karaoke) return;
      filled = null;
      screen.say(error.message);
    }
  }

  return {
    /** Another song, or none. @param {ReturnType<import("./song.js").karaokeOf>} found */
    renderSong(found) {
      open(false);
      karaoke = found;
      filled = null;
      show(button, found !== null);
    },

    /** @param {boolean | null} heard whether the vocals are; null when the song has no stem of them */
    renderVocals(heard) {
      show(vocals, heard !== null);
      vocals.setAttribute("aria-pressed", heard === true);
    },

    leaveFullView: full.leave,

    renderPosition(seconds) {
      if (!view.hidden) screen.render(seconds);
    },
  };
}

/** The sync file, see models/sync.py. */
async function sync(url) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new ApiError({ error: LOST });
  return response.json();
}
