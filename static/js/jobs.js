/** What is asked of a song's jobs, as `GET /status/<file_id>` lists them. Pure functions. */

/**
 * @param {object[] | null | undefined} jobs
 * @param {string} model
 * @returns {object | undefined} its last one
 */
export function newest(jobs, model) {
  return (jobs ?? []).filter((job) => job.model === model).sort((a, b) => b.created_at - a.created_at)[0];
}

/** @returns {object | undefined} its last one that completed */
export const newestCompleted = (jobs, model) => newest(jobs?.filter(({ status }) => status === "completed"), model);
