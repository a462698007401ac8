// What is known of one export, as a value. Snapshots and events only ever lead forward: whichever comes late, or twice,
// changes nothing. Pure functions.

const RANK = { pending: 0, processing: 1, completed: 2, failed: 2, cancelled: 2 };
const ENDS = { "export:completed": "completed", "export:failed": "failed", "export:cancelled": "cancelled" };

const WINDOW = 6000; // ms of progress that the rate is taken of
const LEAST = 700; // ms that are too short to say anything

export const isActive = (job) => RANK[job.status] < 2;

export function isExpired(job, now = Date.now()) {
  return job.status === "completed" && job.expiresAt !== null && Date.parse(job.expiresAt) <= now;
}

// The state in one word, as the page shows it.
export function stateOf(job, now) {
  if (isExpired(job, now)) return "expired";
  return job.cancelling && isActive(job) ? "cancelling" : job.status;
}

// A snapshot from the daemon on top of what is known. It may have been taken before events that came already. With `time`
// the rate is taken of snapshots, where no events come.
export function merged(known, fresh, time = null) {
  if (!known) return noted({ seq: 0, stages: {}, samples: [], ...fresh }, fresh, time);
  const isBehind = RANK[fresh.status] < RANK[known.status] || (fresh.status === "processing" && fresh.progress < known.progress);
  return isBehind ? { ...known, ...lasting(fresh) } : noted({ ...known, ...fresh }, fresh, time);
}

// What is so from the beginning, and what an event alone may not have told.
const lasting = ({ userId, projectName, options, createdAt }) => ({ userId, projectName, options, createdAt });

// An event on top of what is known; null when it was told before or comes too late. The end itself is welcome after a
// snapshot of it: it knows more.
export function advanced(known, { event, seq, data }) {
  if (seq <= known.seq) return null;
  if (!isActive(known)) return ENDS[event] === known.status ? { ...known, seq, ...WITH[event](data) } : null;
  if (!isEnd(event) && data.progress < known.progress) return { ...known, seq }; // a snapshot was ahead of it
  const job = { ...known, seq, ...WITH[event]?.(data) };
  return event === "export:progress" ? noted(job, data, Date.parse(data.timestamp)) : job;
}

// An export of which the first thing to be heard is an event.
export function unheard({ data }) {
  return {
    id: data.jobId, projectId: data.projectId, projectName: data.projectName ?? "", status: "pending", progress: 0,
    phase: null, stage: null, stageProgress: null, message: "", options: data.options ?? {}, warnings: [],
    createdAt: data.timestamp, startedAt: null, completedAt: null, cancelledAt: null, cancelledBy: null,
    errorCode: null, queuePosition: null, fileName: null, fileSize: null, sha256: null, expiresAt: null,
    seq: 0, stages: {}, samples: [],
  };
}

const WITH = {
  "export:started": ({ timestamp }) => ({ status: "processing", startedAt: timestamp, queuePosition: null }),
  "export:progress": ({ progress, phase, stage, stageProgress, message, estimatedTimeRemaining }) =>
    ({ status: "processing", progress, phase, stage, stageProgress, message, remaining: estimatedTimeRemaining }),
  "export:phase-changed": ({ toPhase, progress, message }) =>
    ({ status: "processing", phase: toPhase, progress, message }),
  "export:completed": ({ fileName, fileSize, sha256, warnings, timestamp }) =>
    ({ status: "completed", progress: 100, fileName, fileSize, sha256, warnings, completedAt: timestamp }),
  "export:failed": ({ error, errorCode }) => ({ status: "failed", error, errorCode }),
  "export:cancelled": ({ cancelledBy, cleanupCompleted, timestamp }) =>
    ({ status: "cancelled", cancelledBy, cleanupCompleted, cancelledAt: timestamp }),
};

export const isEnd = (event) => event in ENDS;

// --- stages -----------------------------------------------------------------------------------------------------------

// In the order in which the archive is written.
const STAGES = [
  ["annotations", "Annotations", (options) => options.annotationFormats?.length > 0],
  ["metrics", "Metrics", (options) => options.metricsFormats?.length > 0],
  ["visualizations", "Overlays", (options) => options.includeVisualizations],
  ["images", "Originals", (options) => options.includeOriginalImages],
  ["documentation", "Documentation", () => true],
  ["compression", "Finishing", () => true],
];

// The job with the numbers of its stage noted; what stands at 0 was only prepared for.
function noted(job, { stage, stageProgress }, time = null) {
  if (!stage || !stageProgress) return job;
  const { current, total } = stageProgress;
  const stages = { ...job.stages, [stage]: { current, total } };
  if (time === null) return { ...job, stages };
  const samples = [...job.samples.filter((s) => s.stage === stage && time - s.time < WINDOW), { stage, time, current }];
  return { ...job, stages, samples };
}

// Every stage that this export will have, with how far it is: `share` from 0 to 1.
export function stagesOf(job) {
  const rows = STAGES.filter(([, , has]) => has(job.options)).map(([id, label]) => {
    const { current, total } = job.stages[id] ?? { current: 0, total: 0 };
    return { id, label, current, total, share: total ? current / total : 0 };
  });
  const furthest = rows.findLastIndex((row) => row.current > 0);
  return rows.map((row, place) => (place < furthest ? { ...row, current: row.total, share: 1 } : row));
}

// What is done a second in the present stage, or null.
export function rateOf(job) {
  const [first, last] = [job.samples[0], job.samples.at(-1)];
  if (!first || last.time - first.time < LEAST || last.current <= first.current) return null;
  return ((last.current - first.current) * 1000) / (last.time - first.time);
}

// --- what is in it ----------------------------------------------------------------------------------------------------

// Names of what an export was asked to hold; `formats` is the table of formats.
export function contents(options, formats) {
  const name = (table, id) => table?.find((row) => row.id === id)?.name ?? id;
  return [
    options.includeOriginalImages && "Originals",
    options.includeVisualizations && "Overlays",
    ...(options.annotationFormats ?? []).map((id) => name(formats?.annotations, id)),
    ...(options.metricsFormats ?? []).map((id) => `${name(formats?.metrics, id)} metrics`),
    options.includeDocumentation && "Documentation",
  ].filter(Boolean);
}
