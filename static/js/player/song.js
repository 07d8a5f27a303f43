/** What the player needs of a song's jobs: its stems, and the words of its karaoke package. Pure functions. */

import { stem } from "../format.js";
import { newestCompleted } from "../jobs.js";

/**
 * The stems of the newest separation, as its result lists them; sums of them (an instrumental) are not listed there.
 *
 * @param {object[]} jobs of `GET /status/<file_id>`
 * @returns {{name: string, url: string, bytes: number}[]}
 */
export function stemsOf(jobs) {
  const { result, files = [] } = newestCompleted(jobs, "demucs") ?? {};
  const file = (name) => files.find(({ filename }) => stem(filename) === name);
  return (result?.tracks ?? [])
    .filter(file)
    .map((name) => ({ name, url: file(name).download_url, bytes: file(name).size_bytes }));
}

/**
 * The newest karaoke package: where its words are (null: it has none), and what it says of itself.
 *
 * @returns {{url: string | null, message: string, seconds: number} | null} null without a package
 */
export function karaokeOf(jobs) {
  const { result, files = [] } = newestCompleted(jobs, "karaoke") ?? {};
  if (!result) return null;
  const sync = files.find(({ filename }) => filename === result.sync_file);
  return { url: sync?.download_url ?? null, message: result.message ?? "", seconds: result.duration };
}
