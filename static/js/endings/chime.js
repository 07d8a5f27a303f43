/** A short sound, made here: up for a good end, down for a failure. */

const NOTES_HERTZ = [659.3, 880, 1108.7];
const APART_SECONDS = 0.13;
const FADE_SECONDS = 0.9;
const LOUDNESS = 0.16;

let context = null;

export async function chime(failed = false) {
  if (navigator.userActivation?.hasBeenActive === false) return; // a page may sound once it was clicked or a key pressed
  context ??= new AudioContext();
  await context.resume();
  const notes = failed ? [...NOTES_HERTZ].reverse().map((hertz) => hertz / 2) : NOTES_HERTZ;
  notes.forEach((hertz, index) => play(hertz, context.currentTime + index * APART_SECONDS));
}

function play(frequency, at) {
  const [tone, level] = [new OscillatorNode(context, { type: "triangle", frequency }), new GainNode(context, { gain: 0 })];
  level.gain.setValueAtTime(0, at);
  level.gain.linearRampToValueAtTime(LOUDNESS, at + 0.015);
  level.gain.exponentialRampToValueAtTime(0.0001, at + FADE_SECONDS);
  tone.connect(level).connect(context.destination);
  tone.start(at);
  tone.stop(at + FADE_SECONDS);
}
