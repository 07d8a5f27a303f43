/** The words that were heard. */

import { byId, element } from "../dom.js";

export function createLyrics() {
  const tile = byId("lyrics");

  return function render(jobs) {
    const heard = (jobs ?? []).find((job) => job.model === "whisper" && job.status === "completed")?.result;
    tile.hidden = !heard;
    if (!heard) return;
    const text = (heard.text ?? "").trim();
    const heading = element("h3", { id: "lyrics-heading" }, "Lyrics");
    const words = text
      ? element("p", { class: "lyrics-text", role: "group", tabindex: "0", "aria-labelledby": "lyrics-heading" }, text)
      : element("p", { class: "tile-empty" }, heard.message || "No singing was heard in this song.");
    tile.replaceChildren(heading, words);
  };
}
