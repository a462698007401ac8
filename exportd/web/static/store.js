// All that the page knows. Views read it and are told, once a turn, that something changed.

import { advanced, isActive, isEnd, merged, unheard } from "./jobs.js";

export class Store {
  projects = { state: "loading", list: [] };
  exports = { state: "loading" };
  jobs = new Map();
  mine = new Set(); // ids of jobs whose events come to us
  formats = null;
  link = { mode: "connecting" };
  draining = false;
  loggedOut = false;
  chosen = null; // the project whose history is shown
  history = { state: "idle" };

  #begun = new Set(); // ids of jobs that were started here
  #told = new Set(); // ids of jobs whose end was told
  #listeners = [];
  #due = false;

  // `ended` is called once for each export that ends while the page looks on, however it learns of it: also for one that
  // was started here and is over at the first look.
  constructor({ ended }) {
    this.ended = ended;
  }

  listen(listener) {
    this.#listeners.push(listener);
  }

  set(changes) {
    Object.assign(this, changes);
    this.#changed();
  }

  // --- exports --------------------------------------------------------------------------------------------------------

  // An event. True when the export has to be asked for: the event does not tell all of it.
  take(frame) {
    const id = frame.data.jobId;
    this.mine.add(id);
    const known = this.jobs.get(id);
    const job = advanced(known ?? unheard(frame), frame);
    if (job) this.#put(job);
    return !known || (job !== null && isEnd(frame.event));
  }

  // Exports as the daemon knows them. With `instead` those ids are forgotten that it knows no longer.
  merge(jobs, { mine = false, instead = [] } = {}) {
    const time = this.link.mode === "polling" ? Date.now() : null;
    for (const job of jobs) {
      if (mine) this.mine.add(job.id);
      this.#put(merged(this.jobs.get(job.id), job, time));
    }
    const there = new Set(jobs.map((job) => job.id));
    for (const id of instead) if (!there.has(id)) this.forget(id);
    this.#changed();
  }

  // An export was started here; it may have been heard of before.
  begin(id) {
    this.#begun.add(id);
    const job = this.jobs.get(id);
    if (job && !isActive(job)) this.#tell(job);
  }

  // What only this page knows of an export: that it is being cancelled, what a button led to.
  note(id, changes) {
    const job = this.jobs.get(id);
    if (job) this.#put({ ...job, ...changes });
  }

  forget(id) {
    for (const ids of [this.jobs, this.mine, this.#begun, this.#told]) ids.delete(id);
    this.#changed();
  }

  // The exports to show: ours, or all of the chosen project; newest first.
  shown() {
    return [...this.jobs.values()]
      .filter((job) => (this.chosen ? job.projectId === this.chosen : this.mine.has(job.id)))
      .sort((a, b) => b.createdAt.localeCompare(a.createdAt));
  }

  active() {
    return [...this.jobs.values()].filter(isActive);
  }

  project(id) {
    return this.projects.list.find((project) => project.id === id) ?? null;
  }

  #put(job) {
    const known = this.jobs.get(job.id);
    this.jobs.set(job.id, job);
    if (!isActive(job) && (known ? isActive(known) : this.#begun.has(job.id))) this.#tell(job);
    this.#changed();
  }

  #tell(job) {
    if (this.#told.has(job.id)) return;
    this.#told.add(job.id);
    this.ended(job);
  }

  #changed() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      for (const listener of this.#listeners) listener(this);
    });
  }
}
