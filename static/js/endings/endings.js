/** The switches for a notification and a sound when a song or a queue ends, and what they switch. */

import { byId, show } from "../dom.js";
import { chime } from "./chime.js";
import { ending } from "./ending.js";
import { askToNotify, mayNotify, notify } from "./notification.js";

const HELLO = ["You will hear of it here", "when a song or a queue has ended"];
const REFUSED = "This browser leaves notifications to installed apps.";

export function createEndings() {
  const note = byId("switches-note");
  const notifying = createSwitch("notify", switchNotifying);
  const sounding = createSwitch("chime", (on) => on && chime());
  let before = null;

  if (notifying.on && !mayNotify()) notifying.set(false); // taken back in the browser's settings

  /** Nobody is asked for a permission before this switch is pressed. */
  async function switchNotifying(on) {
    say("");
    const problem = on ? await askToNotify() : null;
    if (problem) refuse(problem);
    else if (on) tell(...HELLO);
  }

  function tell(title, body) {
    try {
      notify(title, body);
    } catch {
      refuse(REFUSED);
    }
  }

  function refuse(sentence) {
    notifying.set(false);
    say(sentence);
  }

  function say(sentence) {
    note.textContent = sentence;
    show(note, sentence !== "");
  }

  return function render(state) {
    const ended = before && ending(before, state);
    before = state;
    if (!ended) return;
    if (notifying.on) tell(ended.title, ended.body);
    if (sounding.on) chime(ended.failed);
  };
}

/** A button that is on or off, also after a reload. */
function createSwitch(id, switched) {
  const button = byId(id);
  const set = (on) => {
    localStorage.setItem(id, on ? "on" : "off");
    button.setAttribute("aria-pressed", on);
  };
  const isOn = () => button.getAttribute("aria-pressed") === "true";
  button.setAttribute("aria-pressed", localStorage.getItem(id) === "on");
  button.addEventListener("click", () => {
    set(!isOn());
    switched(isOn());
  });
  return {
    set,
    get on() {
      return isOn();
    },
  };
}
