/** Which sections there are: nothing has run yet, or there is something to show. */

import { byId, show } from "../dom.js";
import { known } from "./statistics.js";

const WINDOWS = { 1: "the last hour", 24: "the last day", 168: "the last week" };

export function createVisibility() {
  const [empty, heading, about] = ["empty", "empty-heading", "empty-about"].map(byId);

  return function render({ statistics }) {
    const some = Boolean(statistics && known(statistics.total));
    for (const id of ["charts", "numbers-panel"]) show(byId(id), some);
    show(byId("queues-panel"), statistics !== null);
    show(empty, statistics !== null && !some);
    if (!statistics || some) return;
    const window = statistics.hours && (WINDOWS[statistics.hours] ?? `the last ${statistics.hours} hours`);
    heading.textContent = window ? `Nothing has run in ${window}` : "Nothing has run yet";
    about.textContent = window ? "Look further back, or take a song apart now." : "Times and success are measured, so there are none before the first song.";
  };
}
