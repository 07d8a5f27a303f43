/** The four figures at the top. */

import { byId, element } from "../dom.js";
import { NONE, ended, jobs, percent } from "./statistics.js";

const FIGURES = [
  { name: "Success", value: ({ total }) => percent(total.success_rate), about: ({ total }) => endings(total) },
  { name: "Running", value: ({ total }) => total.running, about: ({ total }) => (total.running ? "at this moment" : "nothing runs now") },
  { name: "Waiting", value: (all) => all.queue_depth, about: (all) => (all.queue_depth ? "for a worker" : "the queue is empty") },
  { name: "Workers", value: (all) => all.workers, about: (all) => (all.workers ? "alive" : "none is alive: nothing gets done") },
];

export function createFigures() {
  const list = byId("figures");
  const cards = FIGURES.map((figure) => {
    const [value, about] = [element("dd", { class: "figure-value" }), element("dd", { class: "figure-about" })];
    const card = element("div", { class: "panel figure" }, element("dt", {}, figure.name), value, about);
    list.append(card);
    return { figure, card, value, about };
  });

  return function render(statistics) {
    for (const { figure, card, value, about } of cards) {
      value.textContent = statistics ? figure.value(statistics) : NONE;
      about.textContent = statistics ? figure.about(statistics) : "asking the server";
      card.dataset.status = statistics && figure.name === "Workers" && !statistics.workers ? "failed" : "";
    }
  };
}

const endings = (total) => (ended(total) ? `${total.completed} of ${jobs(ended(total))}` : "no job has ended");
