/** How long completed jobs took: two bars a stage, all on one scale. */

import { byId, show } from "../dom.js";
import { createRows } from "./rows.js";
import { elapsed } from "./statistics.js";

const KINDS = ["average", "median"];

export function createTimes() {
  let longest = 1;
  const seconds = (stage, kind) => stage[`${kind}_run_seconds`];

  const renderRows = createRows("times", "time-template", (row, stage) => {
    for (const kind of KINDS) {
      const line = row.querySelector(`[data-kind="${kind}"]`);
      line.querySelector(".track-fill").style.width = `${(100 * seconds(stage, kind)) / longest}%`;
      line.querySelector(".chart-value").textContent = `${elapsed(seconds(stage, kind))} ${kind}`;
    }
  });

  return function render(statistics) {
    const measured = (statistics?.stages ?? []).filter((stage) => stage.average_run_seconds !== null);
    longest = Math.max(...measured.flatMap((stage) => KINDS.map((kind) => seconds(stage, kind))), Number.EPSILON);
    renderRows(measured);
    show(byId("times-empty"), !measured.length);
  };
}
