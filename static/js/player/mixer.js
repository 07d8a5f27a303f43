/** The rows of a song's stems, and how loud each is. */

import { byId } from "../dom.js";
import { gains, heard, UNTOUCHED } from "./mix.js";
import { createRow } from "./row.js";

/**
 * @param {object} on
 * @param {() => void} on.mix a volume, mute or solo has changed
 * @param {(fraction: number) => void} on.seek a waveform was clicked
 */
export function createMixer(on) {
  const list = byId("stems");
  let names = [];
  let channels = [];
  let rows = [];

  function set(index, change) {
    channels = channels.map((channel, other) => (other === index ? { ...channel, ...change } : channel));
    render();
  }

  function render() {
    const factors = gains(channels);
    rows.forEach((row, index) => row.renderMix(channels[index], factors[index] > 0));
    on.mix();
  }

  const isHeard = (name) => heard(channels)[names.indexOf(name)] ?? null;

  return {
    /** @param {string[]} stems names, in the order of the rows */
    fill(stems) {
      for (const row of rows) row.remove();
      names = stems;
      channels = stems.map(() => UNTOUCHED);
      rows = stems.map((name, index) => createRow(name, index, { mix: (change) => set(index, change), seek: on.seek }));
      list.replaceChildren(...rows.map(({ row }) => row));
      render();
    },

    /** Factors of the stems, in their order. */
    get gains() {
      return gains(channels);
    },

    /** Whether mutes and solos let a stem be heard; null when there is no such stem. */
    isHeard,

    /** A stem's mute and solo; undefined when there is no such stem. */
    switches(name) {
      const channel = channels[names.indexOf(name)];
      return channel && { muted: channel.muted, soloed: channel.soloed };
    },

    /** Mute or solo a stem, if there is one of that name. */
    change: (name, switches) => names.includes(name) && set(names.indexOf(name), switches),

    /** Let a stem be heard, beside any that are soloed, or take it away. */
    toggle(name) {
      const index = names.indexOf(name);
      set(index, { muted: isHeard(name) });
      if (!channels[index].muted && !isHeard(name)) set(index, { soloed: true });
    },

    draw: (index, peaks, duration) => rows[index].draw(peaks, duration),

    renderLoading: (loading) => rows.forEach((row) => row.renderLoading(loading)),

    renderPosition: (seconds) => rows.forEach((row) => row.renderPosition(seconds)),
  };
}
