/** An error in words, under the song. */

import { byId, show } from "../dom.js";

export function createProblem() {
  const box = byId("problem");
  const [sentence, details] = [box.querySelector(".problem-sentence"), box.querySelector(".problem-details")];

  return function render(problem) {
    show(box, problem !== null);
    sentence.textContent = problem?.message ?? "";
    const reference = problem?.requestId ? `Request ${problem.requestId}` : "";
    details.textContent = [problem?.details, reference].filter(Boolean).join(" · ");
    show(details, details.textContent !== "");
  };
}
