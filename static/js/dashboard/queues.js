/** What waits and runs in each queue, and who works on it. */

import { byId, element, icon } from "../dom.js";

const QUEUES = {
  gpu: { title: "Heavy work", about: "Separation, transcription, generation", icon: "separation" },
  cpu: { title: "Light work", about: "Karaoke, key and tempo", icon: "karaoke" },
};

export function createQueues() {
  const list = byId("queues");

  return function render(statistics) {
    list.replaceChildren(...(statistics?.queues ?? []).map(tile));
  };
}

function tile(queue) {
  const { title, about, icon: drawing } = QUEUES[queue.queue] ?? { title: queue.queue, about: "", icon: "analysis" };
  const name = element("div", { class: "queue-name" }, element("h3", {}, title), element("p", {}, about));
  const head = element("div", { class: "queue-title" }, element("span", { class: "queue-icon" }, icon(drawing)), name);
  const figures = [["Waiting", queue.queued], ["Running", queue.running], ["Workers", queue.workers]];
  const numbers = figures.map(([word, count]) => element("div", {}, element("dt", {}, word), element("dd", {}, String(count))));
  const status = queue.workers && !queue.trouble ? "fit" : "failed";
  return element("li", { class: "queue", "data-status": status }, head, element("dl", {}, ...numbers), element("p", { class: "queue-state" }, state(queue)));
}

function state({ workers, device, trouble }) {
  if (!workers) return "No worker is alive";
  if (trouble) return `Can run no job: ${trouble}`;
  return device ? `Ready, on ${device}` : "Ready";
}
