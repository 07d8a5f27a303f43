/** The four figures at the top. */

import { byId, element } from "../dom.js";
import { NONE, ended, jobs, percent } from "./statistics.js";

const FIGURES = [
  { name: "Success", of: ({ total }) => percent(total.success_rate), about: ({ total }) => endings(total) },
  { name: "Running", of: ({ total }) => total.running, about: ({ total }) => (total.running ? "at this moment" : "nothing runs now") },
  { name: "Waiting", of: ({ queue_depth }) => queue_depth, about: ({ queue_depth }) => (queue_depth ? "for a worker" : "the queue is empty") },
  { name: "Workers", of: ({ workers }) => workers, about: ({ workers }) => (workers ? "alive" : "none is alive: nothing gets done") },
];

export function createFigures() {
  const list = byId("figures");
  const figures = FIGURES.map((figure) => {
    const [value, about] = [element("dd", { class: "figure-value" }), element("dd", { class: "figure-about" })];
    const card = element("div", { class: "panel figure" }, element("dt", {}, figure.name), value, about);
    list.append(card);
    return { ...figure, card, value, about, sentence: figure.about };
  });

  return function render(statistics) {
    for (const { card, name, of, value, about, sentence } of figures) {
      value.textContent = statistics ? of(statistics) : NONE;
      about.textContent = statistics ? sentence(statistics) : "asking the server";
      card.dataset.status = statistics && name === "Workers" && !statistics.workers ? "failed" : "";
    }
  };
}

const endings = (total) => (ended(total) ? `${total.completed} of ${jobs(ended(total))}` : "no job has ended yet");
