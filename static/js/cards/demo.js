/** The demo song: one button takes it through with the models that come with the project. */

import { byId, show } from "../dom.js";

const VARIANT = "demo";
const SELECTS = ["separation-variant", "transcription-variant"];

export function createDemo(actions) {
  const [offer, button, about] = ["demo", "demo-start", "demo-about"].map(byId);
  let song = null; // the demo song, from its start until another is chosen
  let before = []; // what the selects said until then

  button.addEventListener("click", async () => {
    button.disabled = true;
    const file = await actions.fetchDemo();
    button.disabled = false;
    if (!file) return;
    song = file;
    before = SELECTS.map((id) => byId(id).value);
    actions.choose(file);
    choose([VARIANT, VARIANT]);
    actions.start({ model_variant: VARIANT, transcription_model_variant: VARIANT });
    byId("cancel").focus(); // the button that had the focus is gone
  });

  return function render({ phase, file, models }) {
    const demo = models?.demucs?.variants?.[VARIANT];
    show(offer, Boolean(demo && models.whisper?.variants?.[VARIANT]));
    about.textContent = demo ? `With the models called demo. ${demo.note}` : "";
    if (song && phase === "idle" && file !== song) {
      song = null;
      choose(before); // these models are for this song, not for the next
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
