/** One stem: its name, mute, solo, volume and waveform. */

import { byId, show } from "../dom.js";
import { words } from "../format.js";
import { drawWaveform } from "./waveform.js";

const HUES = 6; // colours there are, see player.css

/**
 * @param {string} name of the stem
 * @param {number} index
 * @param {object} on
 * @param {(change: Partial<import("./mix.js").Channel>) => void} on.mix
 * @param {(fraction: number) => void} on.seek where the waveform was clicked
 */
export function createRow(name, index, on) {
  const row = byId("stem-template").content.firstElementChild.cloneNode(true);
  const part = (selector) => row.querySelector(selector);
  const [mute, solo, volume, wave] = [".stem-mute", ".stem-solo", ".stem-volume", ".stem-wave"].map(part);
  const title = words(name);
  let channel = null;
  let waveform = null;

  row.dataset.stem = name;
  row.dataset.hue = index % HUES;
  part(".stem-name").textContent = title;
  mute.setAttribute("aria-label", `Mute ${title}`);
  solo.setAttribute("aria-label", `Solo ${title}`);
  volume.setAttribute("aria-label", `Volume of ${title}`);
  const toggleMute = () => on.mix({ muted: !channel.muted });
  const toggleSolo = () => on.mix({ soloed: !channel.soloed });
  mute.addEventListener("click", toggleMute);
  solo.addEventListener("click", toggleSolo);
  volume.addEventListener("input", () => on.mix({ volume: volume.value / 100 }));
  wave.addEventListener("click", (event) => {
    const { left, width } = wave.getBoundingClientRect();
    on.seek((event.clientX - left) / width);
  });
  row.addEventListener("keydown", (event) => {
    const toggle = { m: toggleMute, s: toggleSolo }[event.key.toLowerCase()];
    if (toggle && !event.ctrlKey && !event.metaKey && !event.altKey) toggle();
  });

  return {
    row,

    /** @param {import("./mix.js").Channel} changed @param {boolean} heard */
    renderMix(changed, heard) {
      channel = changed;
      mute.setAttribute("aria-pressed", channel.muted);
      solo.setAttribute("aria-pressed", channel.soloed);
      const percent = Math.round(channel.volume * 100);
      volume.value = percent;
      volume.style.setProperty("--filled", `${percent}%`);
      volume.setAttribute("aria-valuetext", `${percent} percent`);
      row.dataset.heard = heard;
    },

    /** Show the sound's shape once it is measured; a row without one still plays. */
    async draw(peaks, duration) {
      const drawn = await peaks.then((measured) => drawWaveform(wave, measured, duration)).catch(() => null);
      waveform?.remove(); // of a loading that failed on another stem
      waveform = drawn;
      wave.dataset.drawn = waveform !== null;
      show(part(".stem-loading"), false);
    },

    /** @param {boolean} busy */
    renderLoading(busy) {
      row.setAttribute("aria-busy", busy);
      show(part(".stem-loading"), busy && !waveform);
    },

    renderPosition: (seconds) => waveform?.show(seconds),

    remove() {
      waveform?.remove();
      row.remove();
    },
  };
}
