/** Stems fetched and decoded. */

import { ApiError } from "../api.js";
import { duration, words } from "../format.js";

const DECODED_LIMIT_BYTES = 2e9; // more would take the tab down; about 20 minutes of four stems
const BYTES_PER_SECOND = 48000 * 2 * 4; // stereo, float

export const TOO_LONG = "too_long"; // of an ApiError that another try would not help

/**
 * @param {{name: string, url: string, bytes: number}[]} stems
 * @param {number | undefined} seconds length of the song, when it is known
 * @param {(bytes: ArrayBuffer) => Promise<AudioBuffer>} decode
 * @param {object} on
 * @param {(fraction: number) => void} on.progress of the bytes of all stems
 * @param {(index: number, buffer: AudioBuffer) => void} on.stem one is there
 * @param {AbortSignal} signal
 * @returns {Promise<AudioBuffer[]>} rejects with an ApiError
 */
export async function loadStems(stems, seconds, decode, on, signal) {
  if (seconds * BYTES_PER_SECOND * stems.length > DECODED_LIMIT_BYTES) {
    throw new ApiError({ error: tooLong(seconds, stems.length), code: TOO_LONG });
  }
  const total = stems.reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  const count = (bytes) => on.progress((loaded += bytes) / total);
  return Promise.all(
    stems.map(async ({ name, url }, index) => {
      const bytes = await fetchBytes(name, url, count, signal);
      const buffer = await decode(bytes).catch(() => {
        const sentence = `This browser cannot decode “${words(name)}”. Try another browser, or download the file.`;
        throw new ApiError({ error: sentence });
      });
      on.stem(index, buffer);
      return buffer;
    }),
  );
}

function tooLong(seconds, count) {
  const minutes = Math.floor(DECODED_LIMIT_BYTES / BYTES_PER_SECOND / count / 60);
  return `This song lasts ${duration(seconds)}; with ${count} stems the player takes ${minutes} minutes at most, since all of it has to fit into the browser's memory. Download the stems below and play them in another program.`;
}

async function fetchBytes(name, url, count, signal) {
  const gone = () => new ApiError({ error: `“${words(name)}” could not be loaded. Check that the server runs, then try again.` });
  const response = await fetch(url, { signal }).catch(() => Promise.reject(gone()));
  if (!response.ok) {
    const sentence = `“${words(name)}” is not on the server any more. Process the song again to get it back.`;
    throw new ApiError(response.status === 404 ? { error: sentence } : await response.json().catch(() => ({})), response.status);
  }
  const counted = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        count(chunk.byteLength);
        controller.enqueue(chunk);
      },
    }),
  );
  return new Response(counted).arrayBuffer().catch(() => Promise.reject(gone()));
}
