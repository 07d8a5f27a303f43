/** A waveform drawn by wavesurfer.js, from measured peaks alone: it never loads or plays a sound itself. */

const LOUD_ENOUGH = 0.08; // quieter stems are not blown up to full height
const FINENESS = 1000; // places of the boundary between played and not yet played

/**
 * @param {HTMLElement} container
 * @param {Float32Array} peaks
 * @param {number} duration seconds of the waveform's whole width
 */
export async function drawWaveform(container, peaks, duration) {
  const { default: WaveSurfer } = await import("../../vendor/wavesurfer.esm.js");
  const color = getComputedStyle(container).getPropertyValue("--stem");
  const surfer = WaveSurfer.create({
    container,
    peaks: [peaks],
    duration,
    waveColor: color,
    progressColor: color,
    cursorWidth: 0,
    height: 0, // stands in the style that the policy allows by its hash (routes/headers.py)
    barWidth: 2,
    barGap: 1.5,
    barRadius: 2,
    barMinHeight: 1.5,
    normalize: true,
    maxPeak: peaks.reduce((loudest, level) => Math.max(loudest, level), LOUD_ENOUGH),
    interact: false,
    hideScrollbar: true,
  });
  surfer.setOptions({ height: "auto" });
  await new Promise((resolve) => surfer.once("ready", resolve));
  let shown = 0;
  return {
    show(seconds) {
      const step = Math.round((FINENESS * seconds) / duration); // each is a repaint: none that nobody would see
      if (step === shown) return;
      shown = step;
      surfer.setTime(seconds);
    },
    remove: () => surfer.destroy(),
  };
}
