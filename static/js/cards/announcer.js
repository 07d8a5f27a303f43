/** Tells screen readers when a stage changes its status; whole percents would only be noise. */

import { byId } from "../dom.js";
import { STAGE_NAMES } from "../state.js";
import { stageTitle, statusWord } from "./stage.js";

export function createAnnouncer() {
  const region = byId("announcer");
  let told = null;

  return function render({ stages }) {
    const changed = told ? STAGE_NAMES.filter((name) => stages[name].status !== told[name].status) : [];
    told = stages;
    if (changed.length) region.textContent = changed.map((name) => announcement(name, stages[name])).join(" ");
  };
}

function announcement(name, { status, error }) {
  return `${stageTitle(name)}: ${statusWord(status)}${error ? `, ${error}` : ""}.`;
}
