/** The songs that are on the server: search, open, delete. */

import { getSongs } from "../api.js";
import { byId, element, icon, show, withFocus } from "../dom.js";
import { duration } from "../format.js";

const PAGE = 12; // songs asked for at once
const TYPING_MS = 200; // a pause in typing before the search is asked for
const SECOND_THOUGHT_MS = 4000; // how long a delete button waits to be pressed again
const STATUS_WORDS = { queued: "Waiting", processing: "Processing", paused: "Paused", completed: "Ready", failed: "Failed", cancelled: "Cancelled" };

const ELSEWHERE = ["file", "cancel", "another"]; // takes the focus when the last song is deleted; one of them is always there

/** @param {{open: (fileId: string) => void, remove: (fileId: string) => Promise<void>}} actions */
export function createLibrary(actions) {
  const [section, list, field, more, about] = ["library", "library-songs", "library-search", "library-more", "library-about"].map(byId);
  const doubts = new Map(); // songs whose delete button was pressed: `over` once it was pressed again
  let songs = [];
  let asked = 0;

  /** Ask for the first songs again, or for those after the ones shown. */
  async function load(offset = 0) {
    const mine = ++asked;
    const search = field.value.trim();
    const answer = await getSongs(search, offset, PAGE).catch(() => null);
    if (!answer || mine !== asked) return; // the badge says that the server is gone; or another search came after
    const before = songs;
    songs = [...songs.slice(0, offset), ...answer.songs];
    withFocus([section], () => fill(answer.total, search), (had) => heirs(had, before, offset));
  }

  function fill(total, search) {
    list.replaceChildren(...songs.map(row));
    about.textContent = total === 1 ? "1 song" : total ? `${total} songs` : "No song is called that";
    show(more, songs.length < total);
    show(section, Boolean(total || search));
  }

  /** Where the focus goes when the rows were made anew: to the same song, or to the one that has its place now. */
  function heirs(had, before, offset) {
    const old = had.closest("[data-song]");
    const place = old ? before.findIndex((song) => song.file_id === old.dataset.song) : offset;
    const same = [...list.children].find(({ dataset }) => dataset.song === old?.dataset.song);
    const neighbour = list.children[place] ?? list.lastElementChild;
    return [same?.children[[...old.children].indexOf(had)], neighbour?.firstElementChild, field, ...ELSEWHERE.map(byId)];
  }

  function row(song) {
    const open = element("button", { type: "button", class: "library-song" }, cover(), names(song));
    open.addEventListener("click", () => {
      actions.open(song.file_id);
      byId("song").scrollIntoView({ block: "start", behavior: "smooth" });
    });
    return element("li", { class: "library-row", "data-song": song.file_id }, open, removal(song));
  }

  /** A button that has to be pressed twice, though the row may be made anew in between. */
  function removal(song) {
    const name = song.title || song.filename;
    const doubt = doubts.get(song.file_id);
    if (!doubt) {
      const button = element("button", { type: "button", class: "library-delete", title: "Delete", "aria-label": `Delete ${name}` }, icon("delete"));
      button.addEventListener("click", () => ask(song));
      return button;
    }
    const label = `Really delete ${name} and all that was made of it`;
    const button = element("button", { type: "button", class: "button danger small", "aria-label": label }, "Really delete");
    button.setAttribute("aria-disabled", doubt.over); // keeps the focus, unlike disabled
    button.addEventListener("click", async () => {
      if (doubt.over) return;
      doubt.over = true;
      button.setAttribute("aria-disabled", "true");
      await actions.remove(song.file_id);
      doubts.delete(song.file_id);
      load();
    });
    return button;
  }

  /** Ask whether a song shall really go, for some seconds. */
  function ask(song) {
    const doubt = { over: false };
    doubts.set(song.file_id, doubt);
    renew(song);
    setTimeout(() => {
      if (doubt.over) return; // it was pressed the second time
      doubts.delete(song.file_id);
      renew(song);
    }, SECOND_THOUGHT_MS);
  }

  /** Make a song's row anew, if there is one. */
  function renew(song) {
    const old = list.querySelector(`[data-song="${song.file_id}"]`);
    if (!old) return; // the list shows others now
    const made = row(songs.find(({ file_id: fileId }) => fileId === song.file_id));
    withFocus([old], () => old.replaceWith(made), (had) => [made.children[[...old.children].indexOf(had)]]);
  }

  let typing;
  field.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(load, TYPING_MS);
  });
  more.addEventListener("click", () => load(songs.length));

  return () => load();
}

const cover = () => element("span", { class: "library-cover", "aria-hidden": "true" }, icon("note"));

function names(song) {
  const status = element("span", { class: "library-status", "data-status": song.status }, STATUS_WORDS[song.status] ?? "Uploaded");
  const facts = ["", duration(song.duration_seconds), song.artist].filter((fact, at) => !at || fact).join(" · ");
  const title = element("span", { class: "library-title" }, song.title || song.filename);
  return element("span", { class: "library-names" }, title, element("span", { class: "library-facts" }, status, facts));
}
