/** How jobs ended: one bar a stage, in parts. */

import { byId, show } from "../dom.js";
import { createRows } from "./rows.js";
import { ended, percent } from "./statistics.js";

const ENDINGS = ["completed", "failed", "cancelled"];

export function createEndings() {
  const renderRows = createRows("endings", "ending-template", (row, stage) => {
    for (const ending of ENDINGS) {
      row.querySelector(`[data-ending="${ending}"]`).style.width = `${(100 * stage[ending]) / ended(stage)}%`;
    }
    row.querySelector(".chart-value").textContent = `${percent(stage.success_rate)}, ${stage.completed} of ${ended(stage)}`;
  });

  return function render(statistics) {
    const stages = (statistics?.stages ?? []).filter((stage) => ended(stage));
    renderRows(stages);
    show(byId("endings-empty"), !stages.length);
    show(byId("endings-legend"), stages.length > 0);
  };
}
