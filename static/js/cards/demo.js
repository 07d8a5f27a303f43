/** The demo song: one button takes it through with the models that come with the project. */

import { byId, show, withFocus } from "../dom.js";

const VARIANT = "demo";
const SELECTS = ["separation-variant", "transcription-variant"];

export function createDemo(actions) {
  const [offer, button, about] = ["demo", "demo-start", "demo-about"].map(byId);
  let song = null; // the demo song, from its start until another is chosen
  let before = []; // what the selects said until then

  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true"); // keeps the focus, unlike disabled
    const file = await actions.fetchDemo();
    button.setAttribute("aria-disabled", "false");
    if (file) withFocus([button], () => begin(file), () => [byId("cancel")]);
  });

  function begin(file) {
    song = file;
    before = SELECTS.map((id) => byId(id).value);
    actions.choose(file);
    choose([VARIANT, VARIANT]);
    actions.start({ model_variant: VARIANT, transcription_model_variant: VARIANT });
  }

  return function render({ phase, file, models }) {
    const demo = models?.demucs?.variants?.[VARIANT];
    show(offer, !models || Boolean(demo && models.whisper?.variants?.[VARIANT]));
    offer.classList.toggle("awaited", !models);
    about.textContent = demo ? `With the models called demo. ${demo.note}` : "";
    if (song && phase === "idle" && file !== song) {
      song = null;
      choose(before); // these models are for this song, not for the next
    }
    for (const [index, id] of SELECTS.entries()) {
      if (song && phase !== "idle") byId(id).dataset.next = before[index]; // a song may be dropped meanwhile
      else delete byId(id).dataset.next;
    }
  };
}

/** Set both selects, as the person at the screen would. */
function choose(variants) {
  for (const [index, id] of SELECTS.entries()) {
    byId(id).value = variants[index];
    byId(id).dispatchEvent(new Event("change"));
  }
}
