/** The microphone itself: asks for it, and hands on frames of sound. */

export const RATE = 16000; // Hz, what the server works at
const WORKLET = new URL("./worklet.js", import.meta.url);

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it beside the address, then start again.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "The microphone is in use by another program, or cannot be read.",
};

/**
 * @param {object} wishes
 * @param {boolean} wishes.singing sound as it is: what browsers do for speech harms held notes
 * @param {(frame: {pcm: ArrayBuffer, level: number}) => void} wishes.frame 16-bit mono at RATE; level in dB, 0 at most
 * @param {() => void} wishes.unplugged
 * @returns {Promise<() => Promise<void>>} stops; every frame has been handed on when that is done
 * @throws {Error} with a sentence for the person at the screen
 */
export async function capture({ singing, frame, unplugged }) {
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    throw new Error("Browsers give a page the microphone only over https:// or on this same computer (localhost).");
  }
  const processing = { echoCancellation: !singing, noiseSuppression: !singing, autoGainControl: !singing };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...processing } }).catch((error) => {
    throw new Error(REASONS[error.name] ?? `The microphone cannot be used: ${error.message}`);
  });
  const context = new AudioContext();
  const release = () => {
    for (const track of stream.getTracks()) track.stop();
    return context.close();
  };
  try {
    await context.audioWorklet.addModule(WORKLET);
    const options = { numberOfInputs: 1, channelCount: 1, channelCountMode: "explicit", processorOptions: { rate: RATE } };
    const node = new AudioWorkletNode(context, "microphone", options);
    context.createMediaStreamSource(stream).connect(node).connect(context.destination); // which hears silence
    await context.resume();
    const last = new Promise((resolve) => {
      node.port.onmessage = ({ data }) => (data ? frame(data) : resolve());
    });
    stream.getAudioTracks()[0].addEventListener("ended", unplugged);
    return async function stop() {
      node.port.postMessage("finish");
      await last;
      await release();
    };
  } catch (error) {
    await release();
    throw error;
  }
}
