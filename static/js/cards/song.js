/** The chosen song: what the file is, and after the upload what the server found in it. */

import { byId, element, show } from "../dom.js";
import { channels, duration, extension, sampleRate, size } from "../format.js";

export function createSongCard() {
  const [card, title, artist, facts] = ["song-card", "song-title", "song-artist", "song-facts"].map(byId);
  let shown = null;

  return function render({ file, song }) {
    const subject = song ?? file;
    if (subject === shown) return;
    shown = subject;
    show(card, subject !== null);
    if (!subject) return;
    title.textContent = song ? song.title || song.filename || "Your song" : file.name;
    artist.textContent = song ? (song.artist === song.title ? "" : song.artist) : file.type; // a band's song of its own name
    show(artist, artist.textContent !== "");
    facts.replaceChildren(...(song ? songFacts(song) : fileFacts(file)).map((fact) => element("li", {}, fact)));
  };
}

function fileFacts(file) {
  return [extension(file.name), size(file.size)].filter(Boolean);
}

function songFacts(song) {
  if (!song.filename) return []; // opened from a link: the server tells the song's state, not yet what it is
  return [
    duration(song.duration_seconds),
    sampleRate(song.sample_rate),
    channels(song.channels),
    size(song.size_bytes),
    extension(song.filename),
  ];
}
