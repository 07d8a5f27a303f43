/**
 * The sound: every stem on one clock.
 *
 * One AudioContext; each stem is a buffer source, and all of them start at the same context time from the same offset,
 * so they are together to the sample. A seek stops them all and starts all anew.
 */

const LEAD_SECONDS = 0.05; // from the call to the sound, so that no source hears of its start too late
const RAMP_SECONDS = 0.02; // of a change of gain; at once would click

/** @param {() => void} onEnded the longest stem has played to its end */
export function createEngine(onEnded) {
  const context = new AudioContext({ latencyHint: "balanced" });
  let stems = [];
  let duration = 0;
  let offset = 0; // where it stands while nothing runs
  let run = null; // sources that play, the context time of their start, and the offset they started from

  const within = (seconds) => Math.min(Math.max(seconds, 0), duration);
  const reached = (time) => (run ? within(run.offset + Math.max(0, time - run.at)) : offset);

  function start(from) {
    const begun = { at: context.currentTime + LEAD_SECONDS, offset: from };
    begun.sources = stems.map(({ buffer, gain }) => {
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(gain);
      source.start(begun.at, from);
      return source;
    });
    longest(begun.sources).onended = () => {
      if (run !== begun) return; // stopped, not at its end
      run = null;
      offset = duration;
      onEnded();
    };
    run = begun;
  }

  function stop() {
    const { sources } = run;
    offset = reached(context.currentTime);
    run = null;
    for (const source of sources) {
      source.stop();
      source.disconnect();
    }
  }

  return {
    /** To be called in a click or key press, before anything is awaited: browsers let a page sound only then. */
    unlock: () => context.resume(),

    /** @param {ArrayBuffer} bytes of an audio file; rejects when this browser does not know the format */
    decode: (bytes) => context.decodeAudioData(bytes),

    /** @param {AudioBuffer[]} buffers one for each stem */
    load(buffers) {
      stems = buffers.map((buffer) => {
        const gain = new GainNode(context);
        gain.connect(context.destination);
        return { buffer, gain };
      });
      duration = Math.max(...buffers.map((buffer) => buffer.duration));
    },

    play() {
      if (run) return;
      context.resume();
      start(offset < duration ? offset : 0);
    },

    pause() {
      if (run) stop();
    },

    seek(seconds) {
      if (!run) offset = within(seconds);
      else {
        stop();
        start(within(seconds));
      }
    },

    /** @param {number[]} factors one for each stem */
    setGains(factors) {
      stems.forEach(({ gain: { gain } }, index) => {
        gain.cancelScheduledValues(0);
        gain.setValueAtTime(gain.value, context.currentTime);
        gain.linearRampToValueAtTime(factors[index], context.currentTime + RAMP_SECONDS);
      });
    },

    /** Let go of the sound and of the memory. */
    close() {
      if (run) stop();
      stems = [];
      context.close();
    },

    get playing() {
      return run !== null;
    },

    get duration() {
      return duration;
    },

    /** What is heard now, in seconds of the song: behind the clock by what the sound takes to leave the machine. */
    get position() {
      return reached(context.currentTime - (context.outputLatency || 0));
    },
  };
}

const longest = (sources) => sources.reduce((a, b) => (b.buffer.duration > a.buffer.duration ? b : a));
