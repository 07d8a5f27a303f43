/** How old the numbers are, and a notice when there are no newer ones. */

import { byId, show } from "../dom.js";

export function createFreshness() {
  const [line, notice, sentence] = ["freshness", "notice", "notice-sentence"].map(byId);

  return function render({ connection, answeredAt, problem }) {
    const time = answeredAt?.toLocaleTimeString();
    const trouble = explanation(connection, problem);
    document.body.dataset.stale = String(Boolean(trouble));
    show(notice, trouble !== null);
    if (trouble) sentence.textContent = time ? `${trouble} What is shown was so at ${time}.` : trouble;
    line.textContent = time && !trouble ? `As of ${time}, refreshed every few seconds while this tab is seen` : "";
  };
}

function explanation(connection, problem) {
  if (connection === "disconnected" || problem?.code === "unreachable") {
    return "The server cannot be reached; this page goes on by itself once it is back.";
  }
  return problem?.message ?? null;
}
