/** How a task stands: its bar, the words of the server, the time left, its failure. */

import { byId, show } from "../dom.js";
import { sentence, timeLeft } from "../format.js";
import { isOnTheWay } from "./tasks.js";

const WORDS = { asked: "Asking the server…", ended: "Fetching the result…" };

/**
 * Puts the view at the end of an element.
 *
 * @param {HTMLElement} place
 * @param {string} label of the bar, for screen readers
 */
export function createTaskProgress(place, label) {
  const view = byId("task-template").content.cloneNode(true);
  const [running, bar, fill] = [".task", ".bar", ".bar-fill"].map((part) => view.querySelector(part));
  const [word, eta, problem] = [".task-word", ".task-eta", ".problem"].map((part) => view.querySelector(part));
  bar.setAttribute("aria-label", label);
  place.append(view);

  return function render(task) {
    show(running, isOnTheWay(task));
    word.textContent = WORDS[task.status] ?? sentence(task.note ?? (task.message || "Waiting for its turn…"));
    eta.textContent = [`${task.progress}%`, task.etaSeconds === null ? "" : timeLeft(task.etaSeconds)].filter(Boolean).join(" · ");
    fill.style.width = `${task.progress}%`;
    bar.setAttribute("aria-valuenow", task.progress);
    show(eta, task.status === "running" && task.progress > 0);
    show(problem, task.status === "failed");
    problem.querySelector(".problem-sentence").textContent = task.error ?? "It failed.";
    problem.querySelector(".problem-details").textContent = typeof task.details === "string" ? task.details : "";
  };
}
