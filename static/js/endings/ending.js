/** What of a change of the page's state is an end that somebody may wait for. Pure functions. */

import { count, isEnded } from "../queue/entries.js";
import { isOnTheWay } from "../tasks/tasks.js";

const TASKS = { music: "Your music", gemma: "Gemma's answer" };

/**
 * @param {object} before the page's state
 * @param {object} now the page's state after it
 * @returns {{title: string, body: string, failed: boolean} | null} null when nothing ended, or on request only
 */
export function ending(before, now) {
  return ofQueue(before.queue, now.queue) ?? ofSong(before, now) ?? ofTask(before.tasks, now.tasks);
}

/** The last song of the queue has ended. */
function ofQueue(before, now) {
  const news = before.filter((entry) => entry.awaited && !isEnded(entry) && now.some(({ id, status }) => id === entry.id && isEnded({ status })));
  const [ready, failed] = [count(now, "complete"), count(now, "failed")];
  if (!news.length || !now.every(isEnded) || !(ready || failed)) return null;
  return { title: "Your queue has finished", body: failed ? `${ready} ready, ${failed} failed` : `${ready} ready`, failed: ready === 0 };
}

/** The song that the page shows has ended; one of a queue is told with the queue. */
function ofSong(before, now) {
  const { song, outcome, file } = now;
  const refused = now.phase === "idle" && now.stages.upload.status === "failed" && now.problem && !before.problem;
  if (refused) return failure(file?.name ?? "The upload", now.problem.message);
  if (!now.awaited || before.phase === "ended" || now.phase !== "ended" || !outcome) return null;
  if (now.queue.some(({ fileId }) => fileId === song.file_id)) return null;
  const name = song.title || song.filename || "Your song";
  if (!outcome.error) return { title: `${name} is ready`, body: "Stems, lyrics and karaoke", failed: false };
  return outcome.message.endsWith("cancelled") ? null : failure(name, outcome.error);
}

/** Music was made, or Gemma has answered. */
function ofTask(before, now) {
  const name = Object.keys(TASKS).find((one) => isOnTheWay(before[one]) && ["completed", "failed"].includes(now[one].status));
  if (!name) return null;
  const { status, error, job } = now[name];
  const about = job?.parameters.prompt ?? job?.model_variant;
  return status === "failed" ? failure(TASKS[name], error ?? "") : { title: `${TASKS[name]} is ready`, body: about, failed: false };
}

const failure = (name, body) => ({ title: `${name} ended with a failure`, body, failed: true });
