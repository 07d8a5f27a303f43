/** Waveforms of stems, measured in a worker so that the page stays quick. */

const BUCKETS = 2000; // values of a waveform, more than it has pixels on most screens
const PIECE_SAMPLES = 1 << 19; // copied at once, which takes a millisecond or two

export function createPeaks() {
  const worker = new Worker(new URL("./peaks_worker.js", import.meta.url), { type: "module" });
  let last = Promise.resolve();

  function ask(message, transferred) {
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = reject;
      worker.postMessage(message, transferred);
    });
  }

  async function measure(buffer) {
    const bucket = Math.ceil(buffer.length / BUCKETS);
    const piece = bucket * Math.max(1, Math.floor(PIECE_SAMPLES / bucket));
    const peaks = new Float32Array(Math.ceil(buffer.length / bucket));
    for (let from = 0; from < buffer.length; from += piece) {
      const channels = copied(buffer, from, Math.min(piece, buffer.length - from));
      const found = await ask({ channels, bucket }, channels.map((samples) => samples.buffer));
      peaks.set(found, from / bucket);
    }
    return peaks;
  }

  return {
    /**
     * The largest level in each bucket of a stem, over its channels; one stem after the other.
     *
     * @param {AudioBuffer} buffer
     * @returns {Promise<Float32Array>} values from 0 to 1
     */
    of(buffer) {
      const mine = last.then(() => measure(buffer));
      last = mine.catch(() => {});
      return mine;
    },

    close: () => worker.terminate(),
  };
}

function copied(buffer, from, length) {
  return Array.from({ length: buffer.numberOfChannels }, (_, channel) => {
    const samples = new Float32Array(length);
    buffer.copyFromChannel(samples, channel, from);
    return samples;
  });
}
