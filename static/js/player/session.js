/** The sound of one song, loaded when it is first wanted. Until then it only remembers where to start. */

import { createEngine } from "./engine.js";
import { createPeaks } from "./peaks.js";
import { loadStems } from "./stems.js";

/**
 * @param {ReturnType<import("./song.js").stemsOf>} stems
 * @param {number | undefined} seconds length of the song, when it is known
 * @param {object} on
 * @param {() => void} on.state it plays, waits, stands, or is ready
 * @param {(fraction: number | null) => void} on.loading null when nothing is being loaded
 * @param {(index: number, peaks: Promise<Float32Array>, duration: number) => void} on.stem one is decoded
 * @param {(error: Error) => void} on.problem loading failed; open() begins anew
 */
export function createSession(stems, seconds, on) {
  let loaded = null; // engine, peaks and the end of loading, once it is opened
  let ready = false;
  let wanted = false; // to be played once it is ready
  let from = 0;
  let factors = [];

  /** Begin to load. To be called in a click or key press, so that the browser lets the page sound. */
  function open() {
    if (loaded) return;
    loaded = { engine: createEngine(on.state), peaks: createPeaks(), ended: new AbortController() };
    loaded.engine.unlock();
    load(loaded);
  }

  async function load(mine) {
    const { engine, peaks, ended } = mine;
    const stem = (index, buffer) => mine === loaded && on.stem(index, peaks.of(buffer), buffer.duration);
    const progress = (fraction) => mine === loaded && on.loading(fraction);
    progress(0);
    try {
      const buffers = await loadStems(stems, seconds, engine.decode, { progress, stem }, ended.signal);
      if (mine === loaded) begin(engine, buffers);
    } catch (error) {
      if (mine !== loaded) return;
      close();
      on.loading(null);
      on.problem(error);
    }
  }

  function begin(engine, buffers) {
    engine.load(buffers);
    engine.seek(from);
    engine.setGains(factors);
    ready = true;
    if (wanted) engine.play();
    on.loading(null);
    on.state();
  }

  function close() {
    if (!loaded) return;
    loaded.ended.abort();
    loaded.peaks.close();
    loaded.engine.close();
    [loaded, ready, wanted] = [null, false, false];
  }

  return {
    open,
    close,

    toggle() {
      open();
      if (!ready) wanted = !wanted;
      else if (loaded.engine.playing) loaded.engine.pause();
      else loaded.engine.play();
      on.state();
    },

    pause() {
      if (ready) loaded.engine.pause();
      wanted = false;
      on.state();
    },

    seek(to) {
      open();
      if (ready) loaded.engine.seek(to);
      else from = Math.min(Math.max(to, 0), seconds ?? to);
      on.state();
    },

    setGains(wished) {
      factors = wished;
      if (ready) loaded.engine.setGains(factors);
    },

    get playing() {
      return ready && loaded.engine.playing;
    },

    /** It will play as soon as it can. */
    get waiting() {
      return wanted && !ready;
    },

    get position() {
      return ready ? loaded.engine.position : from;
    },

    /** Undefined while it is not known. */
    get duration() {
      return ready ? loaded.engine.duration : seconds;
    },
  };
}
