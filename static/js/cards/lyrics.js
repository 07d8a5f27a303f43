/** The words that were heard. */

import { getResultText } from "../api.js";
import { byId, element } from "../dom.js";
import { newestCompleted } from "../jobs.js";

export function createLyrics() {
  const tile = byId("lyrics");

  return function render(jobs) {
    const { result: heard, files = [] } = newestCompleted(jobs, "whisper") ?? {};
    tile.hidden = !heard;
    if (!heard) return;
    const text = (heard.text ?? "").trim();
    const heading = element("h3", { id: "lyrics-heading" }, "Lyrics");
    const words = text
      ? element("p", { class: "lyrics-text", role: "group", tabindex: "0", "aria-labelledby": "lyrics-heading" }, text)
      : element("p", { class: "tile-empty" }, heard.message || "No singing was heard in this song.");
    tile.replaceChildren(heading, words);
    const lines = text && files.find(({ filename }) => filename === heard.text_file)?.download_url;
    if (lines) getResultText(lines).then((byLine) => (words.textContent = byLine.trim()), () => {}); // the words stay in one piece
  };
}
