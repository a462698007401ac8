// The page: projects, a start for each, and exports that move as the events of /ws come in.
"use strict";

const OPTIONS = {
  includeOriginalImages: true,
  includeDocumentation: true,
  annotationFormats: ["coco", "yolo", "json"],
};
const ACTIVE = ["pending", "processing"];
const jobs = new Map();
let delay = 500;

const $ = (id) => document.getElementById(id);
const notice = (text) => { $("notice").textContent = text; };
const base = (job) => `/api/projects/${job.projectId}/export/${job.id}`;

async function call(method, path, body) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (answer.status === 204) return null;
  const value = await answer.json();
  if (answer.ok) return value;
  if (answer.status === 401) throw new Error("You are not logged in: open the login link that exportd printed.");
  throw new Error(value.error);
}

// What a button does; an error is told, not lost.
function act(work) {
  return async (event) => {
    const button = event.currentTarget;
    button.disabled = true;
    try {
      notice("");
      await work();
    } catch (error) {
      notice(error.message);
    } finally {
      button.disabled = false;
    }
  };
}

function element(name, content, ...children) {
  const made = document.createElement(name);
  if (content !== undefined && content !== null) made.textContent = content;
  made.append(...children);
  return made;
}

function button(text, work) {
  const made = element("button", text);
  made.addEventListener("click", act(work));
  return made;
}

async function start(project) {
  const { jobId } = await call("POST", `/api/projects/${project.id}/export`, { options: OPTIONS });
  await refresh({ projectId: project.id, id: jobId });
}

async function refresh(job) {
  jobs.set(job.id, await call("GET", `${base(job)}/status`));
  draw();
}

async function download(job) {
  const { token } = await call("POST", `${base(job)}/download-token`);
  location.assign(`${base(job)}/download?token=${encodeURIComponent(token)}`);
}

async function remove(job) {
  await call("DELETE", base(job));
  jobs.delete(job.id);
  draw();
}

function state(job) {
  if (!ACTIVE.includes(job.status)) return element("td", job.status);
  const bar = element("progress");
  bar.max = 100;
  bar.value = job.progress;
  const place = job.queuePosition ? `waiting, place ${job.queuePosition}` : `${job.progress} % ${job.message || ""}`;
  return element("td", null, bar, " ", element("small", place));
}

function actions(job) {
  const made = element("td");
  if (ACTIVE.includes(job.status)) {
    made.append(button("Cancel", async () => { await call("POST", `${base(job)}/cancel`); await refresh(job); }));
    return made;
  }
  if (job.status === "completed") made.append(button("Download", () => download(job)));
  made.append(button("Delete", () => remove(job)));
  return made;
}

function draw() {
  const newest = [...jobs.values()].sort((a, b) => b.createdAt.localeCompare(a.createdAt));
  $("exports").replaceChildren(...newest.map((job) => element(
    "tr", null,
    element("td", job.projectName),
    element("td", new Date(job.createdAt).toLocaleString()),
    state(job),
    actions(job),
  )));
}

async function load() {
  const [projects, exports] = await Promise.all([call("GET", "/api/projects"), call("GET", "/api/exports")]);
  $("projects").replaceChildren(...projects.map((project) => element(
    "tr", null,
    element("td", project.title),
    element("td", project.imageCount),
    element("td", project.ownerEmail),
    element("td", null, button("Export", () => start(project))),
  )));
  jobs.clear();
  for (const job of exports) jobs.set(job.id, job);
  draw();
}

function take({ event, data }) {
  const job = jobs.get(data.jobId);
  if (event === "export:progress" && job && ACTIVE.includes(job.status)) {
    Object.assign(job, { status: "processing", progress: data.progress, message: data.message, queuePosition: null });
    draw();
  } else if (event !== "export:phase-changed" && data.jobId) {
    refresh({ id: data.jobId, projectId: data.projectId }).catch(() => {});
  }
}

// Whatever happened while there was no connection is in what load() fetches after the next one stands.
function connect() {
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws`);
  socket.onopen = () => {
    delay = 500;
    load().then(() => notice("")).catch((error) => notice(error.message));
  };
  socket.onmessage = (message) => {
    const frame = JSON.parse(message.data);
    if (frame.data) take(frame);
  };
  socket.onclose = () => {
    setTimeout(connect, delay);
    delay = Math.min(delay * 2, 15000);
  };
}

load().then(connect).catch((error) => notice(error.message));
