/** Finds how loud a piece of sound is, bucket by bucket; answers each message with one value for each bucket. */

self.onmessage = ({ data: { channels, bucket } }) => {
  const peaks = new Float32Array(Math.ceil(channels[0].length / bucket));
  for (const samples of channels) {
    for (let index = 0; index < samples.length; index++) {
      const at = Math.floor(index / bucket);
      const level = Math.abs(samples[index]);
      if (level > peaks[at]) peaks[at] = level;
    }
  }
  self.postMessage(peaks, [peaks.buffer]);
};
