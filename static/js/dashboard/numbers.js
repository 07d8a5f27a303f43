/** Every number in a table: the charts for those who do not see them, and more. */

import { byId, element } from "../dom.js";
import { elapsed, percent, stageTitle } from "./statistics.js";

export function createNumbers() {
  const body = byId("numbers");

  return function render(statistics) {
    body.replaceChildren(...(statistics?.stages ?? []).map(row));
  };
}

function row(stage) {
  const name = element("th", { scope: "row" }, stageTitle(stage), " ", element("span", {}, stage.model));
  const counts = [stage.completed, stage.failed, stage.cancelled, stage.running, stage.queued + stage.paused];
  const times = [
    stage.average_run_seconds,
    stage.median_run_seconds,
    stage.average_wait_seconds,
    stage.median_wait_seconds,
    stage.run_seconds_per_song_second,
  ];
  const cells = [...counts.map(String), percent(stage.success_rate), ...times.map(elapsed)];
  return element("tr", {}, name, ...cells.map((text) => element("td", {}, text)));
}
