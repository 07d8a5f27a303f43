/** The microphone section: start, level, running text, stop. */

import { byId, element, show } from "../dom.js";
import { createStore } from "../store.js";
import { capture, RATE } from "./capture.js";
import { openLine } from "./line.js";

const FLOOR_DB = -60; // the empty end of the meter
const VOICE_DB = { speech: -42, singing: -48 }; // from here on the server takes sound for voice

const IDLE = { status: "idle", message: null, problem: null, finals: [], partial: "", level: FLOOR_DB };
const WORDS = {
  idle: "Speak or sing, and read along.",
  starting: "Asking for the microphone…",
  listening: "Listening…",
  finishing: "Hearing the rest…",
};

/** How a session ended, in words: a wrong claim of success helps nobody. */
const summary = ({ finals, problem }) => (finals.length ? "That is all." : problem ? "Stopped." : "No words were heard.");

export function createMicrophone() {
  const store = createStore(IDLE);
  const put = (change) => store.update((state) => ({ ...state, ...change }));
  let stopCapture = null;
  let line = null;
  let asked = 0; // how often; who stops while the browser still asks does not want the answer any more

  /** Ask for the microphone, then for a session; sound goes out once both are there. */
  async function start() {
    const singing = byId("microphone-singing").checked;
    const number = ++asked;
    const wanted = () => number === asked;
    let open = false;
    let stopThis;
    store.update(() => ({ ...IDLE, status: "starting" }));
    try {
      stopThis = await capture({
        singing,
        unplugged: () => wanted() && stop(),
        frame({ pcm, level }) {
          if (!wanted()) return;
          put({ level });
          if (open) line?.send(pcm, RATE);
        },
      });
    } catch (error) {
      if (wanted()) put({ status: "ended", problem: error.message });
      return;
    }
    if (!wanted()) {
      await stopThis();
      return;
    }
    stopCapture = stopThis;
    put({ message: "Connecting…" });
    line = openLine({ singing }, {
      ready() {
        open = true;
        if (store.state.status === "starting") put({ status: "listening", message: null });
      },
      final: (text) => put({ finals: [...store.state.finals, text], partial: "", message: null }),
      partial: (text) => put({ partial: text, message: null }),
      loading: (message) => put({ message }),
      problem: (problem) => put({ problem }),
      over,
    });
  }

  /** Stop the microphone; the server hears the rest, and the last words come. */
  async function stop() {
    const { status } = store.state;
    if (status !== "starting" && status !== "listening") return;
    if (!stopCapture) {
      asked += 1;
      put({ status: "ended" });
      return;
    }
    put({ status: "finishing", message: null });
    await release();
    line?.finish();
  }

  async function over() {
    line = null;
    put({ status: "ended", message: null, partial: "" });
    await release();
  }

  async function release() {
    const stopping = stopCapture;
    stopCapture = null;
    await stopping?.();
    put({ level: FLOOR_DB });
  }

  byId("microphone-start").addEventListener("click", start);
  byId("microphone-stop").addEventListener("click", stop);
  store.watch((state) => state.level, createMeter());
  store.watch((state) => state, createText());
}

/** The level as a bar, in another colour where it is loud enough to be heard. */
function createMeter() {
  const [meter, singing] = ["microphone-meter", "microphone-singing"].map(byId);
  return function render(level) {
    const shown = Math.max(FLOOR_DB, Math.min(0, level));
    meter.style.setProperty("--level", (shown - FLOOR_DB) / -FLOOR_DB);
    meter.dataset.voice = shown >= VOICE_DB[singing.checked ? "singing" : "speech"];
    meter.setAttribute("aria-valuenow", Math.round(shown));
  };
}

/** Everything but the level. */
function createText() {
  const [section, about, paper, settled, uncertain] = ["microphone", "microphone-about", "microphone-paper", "microphone-final", "microphone-partial"].map(byId);
  const [begin, halt, singing, problem] = ["microphone-start", "microphone-stop", "microphone-singing", "microphone-problem"].map(byId);
  let shown = null;

  /** Append what is new: a long session has many words. */
  function write(finals) {
    if (!shown || finals.length < shown.length) settled.replaceChildren();
    const there = settled.childElementCount;
    settled.append(...finals.slice(there).map((text) => element("span", {}, `${text} `)));
    shown = finals;
  }

  return function render(state) {
    const running = ["starting", "listening", "finishing"].includes(state.status);
    const atEnd = paper.scrollHeight - paper.scrollTop - paper.clientHeight < 40;
    section.dataset.status = state.status;
    about.textContent = state.message ?? (state.status === "ended" ? summary(state) : WORDS[state.status]);
    if (state.finals !== shown) write(state.finals);
    uncertain.textContent = state.partial;
    show(paper, running || state.finals.length > 0);
    show(byId("microphone-meter"), running);
    if (atEnd) paper.scrollTop = paper.scrollHeight;
    show(begin, !running);
    begin.lastChild.textContent = state.status === "ended" ? "Start again" : "Start";
    show(halt, running);
    halt.disabled = state.status === "finishing";
    singing.disabled = running;
    show(problem, state.problem !== null);
    problem.querySelector(".problem-sentence").textContent = state.problem ?? "";
  };
}
