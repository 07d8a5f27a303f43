/** Sound at the microphone's rate made sound at the server's, piece by piece, with nothing lost between pieces. */

const ZERO_CROSSINGS = 12; // of the low-pass filter, on each side
const PASSED = 0.92; // of the frequencies that the lower rate can carry; the rest would fold back as noise

/**
 * @param {number} from samples a second
 * @param {number} to samples a second, no more than `from`
 * @returns {(input: Float32Array) => Float32Array} takes the next piece, gives what is ready
 */
export function createDownsampler(from, to) {
  const step = from / to;
  const cutoff = PASSED / step;
  const reach = Math.ceil(ZERO_CROSSINGS / cutoff);
  let held = new Float32Array(reach); // silence before the first sample, so that time 0 stays time 0
  let position = reach; // of the next output, in samples of `held`

  return function downsample(input) {
    const samples = new Float32Array(held.length + input.length);
    samples.set(held);
    samples.set(input, held.length);
    const count = Math.max(0, Math.ceil((samples.length - reach - position) / step));
    const output = new Float32Array(count);
    for (let n = 0; n < count; n++) output[n] = filtered(samples, position + n * step, cutoff, reach);
    position += count * step;
    const done = Math.min(Math.floor(position) - reach, samples.length);
    held = samples.slice(done);
    position -= done;
    return output;
  };
}

/** The low-passed value at a place between samples: a windowed sinc (Hann). */
function filtered(samples, place, cutoff, reach) {
  const first = Math.max(0, Math.ceil(place - reach));
  const last = Math.min(samples.length - 1, Math.floor(place + reach));
  let sum = 0;
  for (let n = first; n <= last; n++) {
    const away = n - place;
    const angle = Math.PI * away * cutoff;
    const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
    sum += samples[n] * sinc * (0.5 + 0.5 * Math.cos((Math.PI * away) / reach));
  }
  return sum * cutoff;
}
