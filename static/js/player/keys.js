/** The player's keys: space plays and pauses, arrows seek. What an element does with a key itself comes first. */

const STEP_SECONDS = 5;

/**
 * @param {HTMLElement} player
 * @param {object} on
 * @param {() => void} on.toggle
 * @param {(seconds: number) => void} on.seekBy
 */
export function listenToKeys(player, on) {
  const actions = {
    " ": on.toggle,
    ArrowLeft: () => on.seekBy(-STEP_SECONDS),
    ArrowRight: () => on.seekBy(STEP_SECONDS),
  };
  player.addEventListener("keydown", (event) => {
    const act = actions[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || isTheirs(event)) return;
    event.preventDefault();
    act();
  });
}

/** A button is pressed by space; a volume moves by arrows. */
function isTheirs({ key, target }) {
  return key === " " ? target.matches("button, a") : target.matches(".stem-volume");
}
