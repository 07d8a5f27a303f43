/** One stage: its bar, its status and what the server says of it. */

import { byId, iconUrl, show, withFocus } from "../dom.js";
import { sentence, timeLeft } from "../format.js";

const STAGES = {
  upload: { title: "Upload", about: "The song travels to the server" },
  separation: { title: "Separation", about: "Vocals, drums, bass and more" },
  transcription: { title: "Transcription", about: "The lyrics, timed word by word" },
  karaoke: { title: "Karaoke", about: "Instrumental with synced lyrics" },
};

// The glyph is there for copied text; the style sheet draws it, the same on every system.
const STATUSES = {
  waiting: { glyph: "⏳", word: "Waiting…" },
  processing: { glyph: "🔄", word: "Processing…" },
  paused: { glyph: "⏸", word: "Paused" },
  complete: { glyph: "✓", word: "Complete" },
  failed: { glyph: "❌", word: "Failed" },
  cancelled: { glyph: "⊘", word: "Cancelled" },
  skipped: { glyph: "⊘", word: "Skipped" },
};

export const stageTitle = (name) => STAGES[name].title;
export const statusWord = (status) => STATUSES[status].word;

/** A card in the row of stages, and the function that renders it. */
export function createStage(name, actions) {
  const card = byId("stage-template").content.firstElementChild.cloneNode(true);
  const part = (selector) => card.querySelector(selector);
  const [bar, fill, percent] = [part(".bar"), part(".bar-fill"), part(".stage-percent")];
  const [glyph, word, eta] = [part(".glyph"), part(".stage-word"), part(".stage-eta")];
  const [message, note, again] = [part(".stage-message"), part(".stage-note"), part(".stage-again")];
  let failedJob = null;
  card.id = `stage-${name}`;
  fill.id = `progress-${name}`;
  message.id = `message-${name}`;
  part("use").setAttribute("href", iconUrl(name));
  part("h3").textContent = STAGES[name].title;
  part(".stage-about").textContent = STAGES[name].about;
  bar.setAttribute("aria-label", `${STAGES[name].title} progress`);
  again.setAttribute("aria-label", `Try again: ${STAGES[name].title.toLowerCase()}`);
  again.addEventListener("click", () => actions.retry(failedJob));
  byId("stages").append(card);

  return function render(stage) {
    card.dataset.status = stage.status;
    glyph.textContent = STATUSES[stage.status].glyph;
    word.textContent = STATUSES[stage.status].word;
    fill.style.width = `${stage.progress}%`;
    bar.setAttribute("aria-valuenow", stage.progress);
    bar.setAttribute("aria-valuetext", `${STATUSES[stage.status].word} ${stage.progress} percent`);
    percent.textContent = ["processing", "paused"].includes(stage.status) ? `${stage.progress}%` : "";
    eta.textContent = stage.status === "processing" && stage.etaSeconds !== null ? timeLeft(stage.etaSeconds) : "";
    message.textContent = stage.error ?? (isRepetition(stage) ? "" : sentence(stage.message));
    note.textContent = stage.note ? `${sentence(stage.note.message)} ${stage.note.progress}%` : "";
    show(note, stage.note !== null);
    failedJob = ["failed", "cancelled"].includes(stage.status) ? stage.jobId : null;
    withFocus([again], () => show(again, failedJob !== null), () => [byId("cancel"), byId("another")]);
  };
}

/** "Transcription complete" under the word "Complete" says nothing; what else a stage has to say stays. */
const isRepetition = ({ status, message }) => status === "paused" || (status === "complete" && / complete\b/.test(message));
