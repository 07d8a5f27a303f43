/** Asks again and again while the tab is seen, and not at all while it is hidden. */

const EVERY_MS = 4000;
const SOON_MS = 500; // several things that end together are asked for once

/** @param {() => Promise<void>} load asks once; does not throw */
export function createPolling(load) {
  let timer = null;
  let running = false;
  let wanted = false; // asked for while an answer was on its way

  const wait = (milliseconds) => {
    clearTimeout(timer);
    timer = setTimeout(now, milliseconds);
  };

  async function now() {
    clearTimeout(timer);
    if (document.hidden) return;
    wanted = running;
    if (running) return;
    running = true;
    await load();
    running = false;
    wait(wanted ? 0 : EVERY_MS);
  }

  function soon() {
    if (running) wanted = true;
    else if (!document.hidden) wait(SOON_MS);
  }

  document.addEventListener("visibilitychange", now);
  return { now, soon };
}
