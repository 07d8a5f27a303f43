/**
 * The HTTP calls of the page. Every failure is an ApiError with a sentence for the person at the screen; one for want of
 * an API key is also told to the document, by the event SIGNED_OUT.
 */

const UNREACHABLE = "The server cannot be reached. Check that it runs, then try again.";

export class ApiError extends Error {
  /** @param {{error?: string, details?: unknown, code?: string, request_id?: string}} body the server's error */
  constructor(body, status = 0) {
    super(body.error || `The server answered with status ${status}.`);
    this.details = typeof body.details === "string" ? body.details : "";
    this.code = body.code || "";
    this.requestId = body.request_id || "";
    this.status = status;
  }
}

export const SIGNED_OUT = "signedout";

/** Whoever is answered 401 has to sign in. */
export function noteStatus(status) {
  if (status === 401) document.dispatchEvent(new Event(SIGNED_OUT));
}

const json = (response) => response.json().catch(() => ({}));

async function call(path, options = {}, read = json) {
  let response;
  try {
    response = await fetch(path, { headers: { Accept: "application/json" }, ...options });
    if (response.ok) return await read(response);
  } catch {
    throw new ApiError({ error: UNREACHABLE, code: "unreachable" });
  }
  const failure = new ApiError(await json(response), response.status);
  noteStatus(response.status);
  throw failure;
}

/** Whether the service asks for API keys, and who is signed in. */
export const getSession = () => call("/session");
export const signIn = (key) => post("/session", { api_key: key });
export const signOut = () => call("/session", { method: "DELETE" });

export const getModels = async () => (await call("/models")).models;
export const getStatus = (fileId) => call(`/status/${encodeURIComponent(fileId)}`);
export const cancelJob = (jobId) => call(`/jobs/${encodeURIComponent(jobId)}/cancel`, { method: "POST" });
export const retryJob = (jobId) => call(`/jobs/${encodeURIComponent(jobId)}/retry`, { method: "POST" });
export const pauseJob = (jobId) => call(`/jobs/${encodeURIComponent(jobId)}/pause`, { method: "POST" });
export const resumeJob = (jobId) => call(`/jobs/${encodeURIComponent(jobId)}/resume`, { method: "POST" });
export const getJob = (jobId) => call(`/jobs/${encodeURIComponent(jobId)}`);
const post = (path, body) => call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
/** What a file of a song's results holds. */
export const getResult = (url) => call(url);
export const getResultText = (url) => call(url, {}, (response) => response.text());
/** Have one model work on a song; answers at once which job it is, or with the result that is there already. */
export const startModel = (model, fileId, body = {}) => post(`/process/${model}/${encodeURIComponent(fileId)}?async=true`, body);
/** Have music made from a description; answers at once which job it is. */
export const generateMusic = (body) => post("/generate/text-to-music?async=true", body);
/** A page of the library, newest first, of songs whose title, artist or file name holds `search`. */
export const getSongs = (search, offset, limit) =>
  call(`/songs?${new URLSearchParams({ search, offset, limit })}`);
export const deleteSong = (fileId) => call(`/songs/${encodeURIComponent(fileId)}`, { method: "DELETE" });
/** The song that comes with the project, as if it had been chosen from a disk. */
export async function getDemoSong() {
  const sound = await call("/static/demo/song.mp3", {}, (response) => response.blob());
  return new File([sound], "song.mp3", { type: sound.type });
}
/** How the work goes; of what ended, only the last so many hours, or all when `hours` is empty. */
export const getStatistics = (hours) => call(`/jobs/statistics${hours ? `?${new URLSearchParams({ hours })}` : ""}`);
export const archiveUrl = (fileId) => `/download/${encodeURIComponent(fileId)}?archive=zip`;

/**
 * Send a song and start its processing. XMLHttpRequest, since fetch does not tell how much has left.
 *
 * @param {File} file
 * @param {Record<string, string>} fields further form fields
 * @param {(loaded: number, total: number) => void} onProgress bytes
 * @param {AbortSignal} signal
 */
export function uploadSong(file, fields, onProgress, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ auto_process: "true", ...fields })) form.append(name, value);
  form.append("file", file);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/upload?model=demucs");
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = () => {
      const body = request.response || {};
      if (request.status < 300) resolve(body);
      else {
        noteStatus(request.status);
        reject(new ApiError(body, request.status));
      }
    };
    request.onerror = () => reject(new ApiError({ error: UNREACHABLE, code: "unreachable" }));
    request.onabort = () => reject(new ApiError({ error: "Upload cancelled.", code: "cancelled" }));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
