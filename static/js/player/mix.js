/** How loud each stem is: volumes, mutes and solos. Pure functions. */

/** @typedef {{volume: number, muted: boolean, soloed: boolean}} Channel volume from 0 to 1, as the slider stands */

/** @type {Channel} */
export const UNTOUCHED = Object.freeze({ volume: 1, muted: false, soloed: false });

/**
 * The factor of each stem. Once any is soloed only those are heard; a muted one never is, and its solo silences no
 * others: karaoke takes away a voice that was soloed, and the rest is to be heard. The square of the slider's
 * place is what the ear takes for even steps.
 *
 * @param {Channel[]} channels
 * @returns {number[]}
 */
export function gains(channels) {
  const anySolo = channels.some(({ soloed, muted }) => soloed && !muted);
  return channels.map(({ volume, muted, soloed }) => (muted || (anySolo && !soloed) ? 0 : volume ** 2));
}
