/** Runs beside the page, on the sound itself: makes frames of 16-bit PCM for the server, and tells their level. */

import { createDownsampler } from "./downsample.js";

const FRAME = 1600; // samples, 100 ms

class Microphone extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate } }) {
    super();
    this.downsample = createDownsampler(sampleRate, rate);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
    this.running = true;
    this.port.onmessage = () => this.finish();
  }

  process([[samples]]) {
    if (samples && this.running) for (const sample of this.downsample(samples)) this.put(sample);
    return this.running;
  }

  put(sample) {
    this.frame[this.filled++] = Math.max(-1, Math.min(1, sample)) * 0x7fff;
    if (this.filled === FRAME) this.send();
  }

  send() {
    const pcm = this.frame.slice(0, this.filled);
    const power = pcm.reduce((sum, sample) => sum + (sample / 0x8000) ** 2, 0) / pcm.length;
    this.port.postMessage({ pcm: pcm.buffer, level: 10 * Math.log10(power + 1e-10) }, [pcm.buffer]);
    this.filled = 0;
  }

  /** The last, shorter frame, then word that there is no other. */
  finish() {
    this.running = false;
    if (this.filled) this.send();
    this.port.postMessage(null);
  }
}

registerProcessor("microphone", Microphone);
