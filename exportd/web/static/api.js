// The calls of exportd. Each gives what the daemon answers, or throws one of two errors.

// How many exports the daemon tells of at once: of ours, and of a project.
export const MOST_EXPORTS = 200;
export const MOST_HISTORY = 100;

// The daemon refused: `status`, `code` and `body` say why, `message` says it to a person.
export class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body.error ?? `exportd answered ${status}.`);
    this.status = status;
    this.body = body;
    this.code = body.code ?? "";
    this.retryAfter = retryAfter;
  }

  get sentences() {
    return this.body.errors?.map(({ msg }) => msg) ?? [this.message];
  }
}

// No answer came.
export class Unreachable extends Error {
  constructor() {
    super("exportd does not answer. Is it running?");
  }
}

const PATIENCE = 30000; // ms that an answer may take; a cancel waits for its clean-up, 5 s as it is set

async function call(method, path, { body, headers, signal: ours } = {}) {
  const sent = body === undefined ? headers : { "Content-Type": "application/json", ...headers };
  const late = AbortSignal.timeout(PATIENCE);
  const signal = ours ? AbortSignal.any([ours, late]) : late;
  let answer;
  let value;
  try {
    answer = await fetch(path, { method, headers: sent, body: body && JSON.stringify(body), signal });
    value = answer.status === 204 ? null : await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable();
  }
  if (answer.ok) return value;
  throw new Refused(answer.status, value ?? {}, Number(answer.headers.get("Retry-After")) || null);
}

export const jobPath = (job) => `/api/projects/${job.projectId}/export/${job.id}`;
const projectPath = (id) => `/api/projects/${id}`;

export const api = {
  projects: () => call("GET", "/api/projects"),
  exports: () => call("GET", "/api/exports"),
  formats: () => call("GET", "/api/export/formats"),
  ready: () => call("GET", "/readyz").then(() => true, (error) => error.code !== "SHUTTING_DOWN"),
  history: (projectId) => call("GET", `${projectPath(projectId)}/export/history?limit=${MOST_HISTORY}`),
  status: (job) => call("GET", `${jobPath(job)}/status`),
  audit: (job) => call("GET", `${jobPath(job)}/audit`),
  cancel: (job) => call("POST", `${jobPath(job)}/cancel`),
  remove: (job) => call("DELETE", jobPath(job)),
  token: (job) => call("POST", `${jobPath(job)}/download-token`),
  estimate: (projectId, options, signal) =>
    call("POST", `${projectPath(projectId)}/export/estimate`, { body: { options }, signal }),
  start: (projectId, options, key) =>
    call("POST", `${projectPath(projectId)}/export`, { body: { options }, headers: { "Idempotency-Key": key } }),
  images: (projectId, query, signal) =>
    call("GET", `${projectPath(projectId)}/images?${new URLSearchParams(query)}`, { signal }),
};

export const thumbnailPath = (projectId, imageId) =>
  `${projectPath(projectId)}/images/${encodeURIComponent(imageId)}/thumbnail`;

// The address under which a browser downloads the archive by itself: it can resume, and needs no login.
export async function downloadAddress(job) {
  const { token } = await api.token(job);
  return `${jobPath(job)}/download?token=${encodeURIComponent(token)}`;
}
