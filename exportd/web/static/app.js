// The page. One store holds what is known; `Live` keeps it up to date; views draw it and call the actions below.
//
//   api    the daemon's calls          jobs   one export as a value      frame     line, banner, theme
//   live   WebSocket, SSE or asking    store  all that is known          projects, exports, active, ended, timeline
//   dom    elements                    format numbers and times          dialog, picker, choices, question
//   longer a list drawn step by step

import { api, downloadAddress, jobPath, Refused } from "./api.js";
import { known, remembered } from "./choices.js";
import { Dialog } from "./dialog.js";
import { h } from "./dom.js";
import { Exports } from "./exports.js";
import { bytes } from "./format.js";
import { Frame } from "./frame.js";
import { Live } from "./live.js";
import { complain, copy, say, toast } from "./notices.js";
import { Projects } from "./projects.js";
import { ask } from "./question.js";
import { Store } from "./store.js";

const TICK = 2000; // ms: "3 min ago" and an archive's end move on
const LOOK = 10000; // ms between two questions that no event answers
const tabs = new BroadcastChannel("exportd");

const store = new Store({ ended });
const live = new Live(store, refresh);

// --- asking -------------------------------------------------------------------------------------------------------------

// All of our exports. Those that have been removed elsewhere go; one that began meanwhile stays.
async function refresh() {
  const before = [...store.mine];
  try {
    store.merge(await api.exports(), { mine: true, instead: before });
    store.set({ exports: { state: "ready" }, loggedOut: false });
    if (store.projects.state !== "ready") await loadProjects();
  } catch (error) {
    if (store.exports.state !== "ready") store.set({ exports: { state: "error", error: error.message } });
    if (store.projects.state !== "ready") store.set({ projects: { state: "error", list: [], error: error.message } });
    throw error;
  }
}

async function loadProjects() {
  const [list, formats] = await Promise.all([api.projects(), store.formats ?? api.formats()]);
  store.set({ projects: { state: "ready", list }, formats });
}

async function loadHistory() {
  const chosen = store.chosen;
  if (!chosen) return;
  const before = [...store.jobs.values()].filter(({ id, projectId }) => projectId === chosen && !store.mine.has(id));
  try {
    const jobs = await api.history(chosen);
    if (store.chosen !== chosen) return;
    store.merge(jobs, { instead: before.map(({ id }) => id) });
    store.set({ history: { state: "ready" } });
  } catch (error) {
    if (store.chosen === chosen) store.set({ history: { state: "error", error: error.message } });
  }
}

async function askReady() {
  store.set({ draining: !(await api.ready()) });
}

// What no event tells: whether the daemon drains, new projects, and exports that others started.
function look() {
  if (document.hidden || store.loggedOut || store.link.mode === "lost") return;
  askReady();
  loadProjects().catch(() => {});
  loadHistory();
}

// --- actions ------------------------------------------------------------------------------------------------------------

function start(project, options) {
  if (store.draining) complain(new Error("exportd is stopping and takes no new exports. Try again in a minute."));
  else new Dialog(project, store.formats, options ?? remembered(project.id, store.formats), started).open();
}

async function started(jobId, project) {
  const before = document.activeElement;
  say(`The export of ${project.title} has started.`);
  store.begin(jobId);
  frame.show("exports");
  if (store.chosen && store.chosen !== project.id) choose(null);
  try {
    store.merge([await api.status({ id: jobId, projectId: project.id })], { mine: true });
    setTimeout(() => { if (document.activeElement === before) exports.focus(jobId); }); // who has moved on stays there
    tabs.postMessage("changed");
  } catch (error) {
    complain(error);
  }
}

async function cancel(job) {
  store.note(job.id, { cancelling: true });
  try {
    const { cancelledAt, cleanupCompleted } = await api.cancel(job);
    store.note(job.id, { status: "cancelled", cancelledBy: "user", cancelledAt, cleanupCompleted });
  } catch (error) {
    const note = afterLateCancel(error);
    store.note(job.id, { cancelling: false, note });
    if (!note) complain(error);
    if (error instanceof Refused) await refresh().catch(() => {}); // what is shown is put right
  }
  setTimeout(() => { if (document.activeElement === document.body) exports.focus(job.id); }); // the button is gone
}

function afterLateCancel({ code }) {
  if (code === "EXPORT_COMPLETED") return "It was completed before the cancel came; the archive is there.";
  return code === "EXPORT_FAILED" ? "It had failed before the cancel came." : null;
}

async function download(job) {
  await withArchive(job, async () => {
    h("a", { href: await downloadAddress(job), download: "" }).click();
    say(`The download of ${job.fileName}, ${bytes(job.fileSize)}, has begun.`);
  });
}

async function copyLink(job) {
  await withArchive(job, async () => copy("Link", new URL(await downloadAddress(job), location.href).href));
}

// An archive may have gone since it was shown; then what is shown is put right.
async function withArchive(job, work) {
  try {
    await work();
  } catch (error) {
    complain(error);
    if (error.code === "EXPORT_EXPIRED") store.note(job.id, { expiresAt: error.body.expiredAt ?? job.expiresAt });
    if (error instanceof Refused) refresh().catch(() => {});
  }
}

async function remove(job) {
  const what = job.status === "completed" ? "The archive is deleted, and the export disappears" : "It disappears";
  const text = `${what} from everybody's list. This cannot be undone.`;
  if (!(await ask({ title: "Remove this export?", text, yes: "Remove", no: "Keep it" }))) return;
  try {
    await api.remove(job);
  } catch (error) {
    if (error.status !== 404) return complain(error);
  }
  store.forget(job.id);
  toast(`The export of ${job.projectName} is removed`);
  tabs.postMessage("changed");
  document.getElementById("main").focus();
}

function again(job) {
  const project = store.project(job.projectId);
  if (project) start(project, known(job.options, store.formats));
  else complain(new Error("You have no access to this project any more."));
}

// Shows everybody's exports of a project; of null, ours. The address keeps it over a reload.
function choose(project) {
  const id = project && project.id !== store.chosen ? project.id : null;
  history.replaceState(null, "", id ? `#${id}` : location.pathname);
  store.set({ chosen: id, history: { state: id ? "loading" : "idle" } });
  if (id) frame.show("exports");
  loadHistory();
}

// --- together -----------------------------------------------------------------------------------------------------------

function ended(job) {
  const what = `The export of ${job.projectName}`;
  if (job.status === "completed") toast(`${what} is completed`);
  else if (job.status === "failed") toast(`${what} has failed`, "bad");
  else toast(`${what} was cancelled`, "neutral");
}

const retry = () => live.retry();
const frame = new Frame(store, { retry });
const projects = new Projects(store, { start, choose, retry });
const exports = new Exports({
  cancel, download, copyLink, remove, again, copy, retry, address: (job) => `${jobPath(job)}/download`, all: () => choose(null),
  begin: () => start(store.project(store.chosen)),
});
for (const view of [frame, projects, exports]) store.listen((now) => view.update(now));

tabs.addEventListener("message", () => refresh().catch(() => {}));
document.addEventListener("visibilitychange", () => { retry(); look(); });
setInterval(() => store.set({}), TICK);
setInterval(look, LOOK);

const [, chosen = null] = location.hash.match(/^#([0-9a-f-]{36})$/i) ?? [];
store.set({ chosen, history: { state: chosen ? "loading" : "idle" } });
live.run();
askReady();
loadHistory();
