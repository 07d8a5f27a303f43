/** The player of a finished song: transport, a row for each stem, and karaoke, all on one clock. */

import { byId, show } from "../dom.js";
import { words } from "../format.js";
import { createKaraoke } from "./karaoke.js";
import { listenToKeys } from "./keys.js";
import { createMixer } from "./mixer.js";
import { createSession } from "./session.js";
import { karaokeOf, stemsOf } from "./song.js";
import { TOO_LONG } from "./stems.js";
import { createTransport } from "./transport.js";

const VOICE = "vocals"; // what separations call it

export function createPlayer() {
  const [section, list, mixerButton, about, problem] = ["player", "stems", "show-mixer", "player-about", "player-problem"].map(byId);
  let shown = null; // stems and karaoke package, by their addresses
  let stems = [];
  let session = null;
  let before; // the voice's mute and solo, before karaoke took it away
  let frame = 0;

  const toggle = () => session.toggle();
  const seek = (seconds) => session.seek(seconds);
  const transport = createTransport({ toggle, seek });
  const mixer = createMixer({ mix: mixed, seek: (fraction) => seek(fraction * (session.duration ?? 0)) });
  const karaoke = createKaraoke({ open: karaokeOpened, vocals: () => mixer.toggle(VOICE) });
  listenToKeys(section, { toggle, seekBy: (seconds) => seek(session.position + seconds) });
  mixerButton.addEventListener("click", () => {
    openMixer(list.hidden);
    session.open();
  });
  byId("player-again").addEventListener("click", () => session.open());

  function openMixer(open) {
    show(list, open);
    mixerButton.setAttribute("aria-expanded", open);
  }

  function karaokeOpened(open) {
    if (open) {
      before = mixer.switches(VOICE);
      session.open();
    }
    mixer.change(VOICE, open ? { muted: true } : before);
    renderPosition();
  }

  function mixed() {
    session?.setGains(mixer.gains);
    karaoke.renderVocals(mixer.isHeard(VOICE));
  }

  function renderLoading(fraction) {
    const loading = fraction !== null;
    const names = stems.map(({ name }) => words(name)).join(" · ");
    about.textContent = loading ? `Loading ${stems.length} stems… ${Math.round(100 * fraction)}%` : names;
    section.setAttribute("aria-busy", loading);
    mixer.renderLoading(loading);
    show(problem, false);
    if (loading) openMixer(true);
  }

  function renderProblem(error) {
    problem.querySelector(".problem-sentence").textContent = error.message;
    show(problem, true);
    show(byId("player-again"), error.code !== TOO_LONG);
    if (error.code === TOO_LONG) openMixer(false);
    renderState();
  }

  function renderState() {
    transport.renderState(session);
    transport.renderDuration(session.duration);
    follow();
  }

  /** Now, and on every frame of the screen while it plays. */
  function follow() {
    renderPosition();
    cancelAnimationFrame(frame);
    if (session.playing) frame = requestAnimationFrame(follow);
  }

  function renderPosition() {
    const { position } = session; // which moves on while it is shown
    transport.renderPosition(position);
    karaoke.renderPosition(position);
    mixer.renderPosition(position);
  }

  function change(jobs, subject) {
    session?.close();
    const packed = karaokeOf(jobs);
    const on = { state: renderState, loading: renderLoading, stem: mixer.draw, problem: renderProblem };
    session = createSession(stems, packed?.seconds ?? subject?.duration_seconds, on);
    karaoke.renderSong(packed);
    mixer.fill(stems.map(({ name }) => name));
    openMixer(false);
    renderLoading(null);
    renderState();
  }

  function hide() {
    if (session.playing) session.pause();
    karaoke.leaveFullView(); // or all else would stay inert
  }

  return function render({ phase, jobs, song }) {
    stems = stemsOf(jobs);
    const key = [...stems, karaokeOf(jobs)].map((part) => part?.url).join(" ");
    if (key !== shown) change(jobs, song);
    shown = key;
    if (phase !== "ended") hide(); // the results are hidden while a stage runs again
    show(section, stems.length > 0);
  };
}
