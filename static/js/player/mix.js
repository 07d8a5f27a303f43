/** How loud each stem is: volumes, mutes and solos. Pure functions. */

/** @typedef {{volume: number, muted: boolean, soloed: boolean}} Channel volume from 0 to 1, as the slider stands */

/** @type {Channel} */
export const UNTOUCHED = Object.freeze({ volume: 1, muted: false, soloed: false });

/**
 * Whether mutes and solos let each stem be heard. Once any is soloed only those are; a muted one never is, and its solo
 * silences no others: karaoke takes away a voice that was soloed, and the rest is to be heard.
 *
 * @param {Channel[]} channels
 * @returns {boolean[]}
 */
export function heard(channels) {
  const anySolo = channels.some(({ soloed, muted }) => soloed && !muted);
  return channels.map(({ muted, soloed }) => !muted && (soloed || !anySolo));
}

/**
 * The factor of each stem. The square of the slider's place is what the ear takes for even steps.
 *
 * @param {Channel[]} channels
 * @returns {number[]}
 */
export function gains(channels) {
  const sounds = heard(channels);
  return channels.map(({ volume }, index) => (sounds[index] ? volume ** 2 : 0));
}
