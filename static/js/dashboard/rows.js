/** Rows of a list that stay the same elements from answer to answer, so that bars move instead of jumping. */

import { byId } from "../dom.js";
import { key, stageTitle } from "./statistics.js";

/**
 * @param {string} listId
 * @param {string} templateId
 * @param {(row: Element, stage: object) => void} fill
 */
export function createRows(listId, templateId, fill) {
  const list = byId(listId);
  const known = new Map();

  function made(stage) {
    const row = byId(templateId).content.firstElementChild.cloneNode(true);
    row.dataset.stage = stage.stage;
    row.querySelector(".chart-name strong").textContent = stageTitle(stage);
    row.querySelector(".chart-name span").textContent = stage.model;
    known.set(key(stage), row);
    return row;
  }

  return function render(stages) {
    const rows = stages.map((stage) => known.get(key(stage)) ?? made(stage));
    for (const [index, row] of rows.entries()) {
      if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
      fill(row, stages[index]);
    }
    while (list.children.length > rows.length) list.lastElementChild.remove();
  };
}
