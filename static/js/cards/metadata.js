/** The file's own facts. */

import { byId, element } from "../dom.js";
import { channels, duration, sampleRate, size } from "../format.js";

export function createMetadata() {
  const tile = byId("metadata");

  return function render(song) {
    tile.hidden = !song?.filename;
    if (tile.hidden) return;
    const heading = element("h3", { id: "metadata-heading" }, "File");
    tile.replaceChildren(heading, element("dl", {}, ...facts(song).flatMap(pair)));
  };
}

function facts(song) {
  return [
    ["Title", song.title],
    ["Artist", song.artist],
    ["Duration", duration(song.duration_seconds)],
    ["Sample rate", sampleRate(song.sample_rate)],
    ["Channels", channels(song.channels)],
    ["Size", size(song.size_bytes)],
    ["File name", song.filename],
  ].filter(([, value]) => value);
}

const pair = ([name, value]) => [element("dt", {}, name), element("dd", {}, value)];
