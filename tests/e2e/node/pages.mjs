// What the platform's pages do, with the libraries they do it with: sockets, and calls with axios or fetch.
// GIVEN in the environment: url, project, transports, and a token per user.

import axios from "axios";
import { createHash } from "node:crypto";
import { io } from "socket.io-client";

export const given = JSON.parse(process.env.GIVEN);
export const exportsOf = `/api/projects/${given.project}/export`;

const EVENTS = ["started", "progress", "phase-changed", "completed", "failed", "cancelled", "cancel-error"];
const PATIENCE = 60_000;

// The body that the export dialog sends with everything as it is when it opens, for a project of microtubules.
export const ORDER = {
  options: {
    includeOriginalImages: true,
    includeVisualizations: true,
    visualizationOptions: {
      showNumbers: true,
      polygonColors: { external: "#FF0000", internal: "#0000FF" },
      strokeWidth: 2,
      fontSize: 32,
      transparency: 0.3,
    },
    annotationFormats: ["coco", "json"],
    metricsFormats: ["excel"],
    includeDocumentation: true,
    mtMetrics: { thicknessPx: 5, marginMultiplier: 2 },
    mtKymographs: { enabled: false, mode: "kymograph", includeVelocityMetrics: true, includeSegmentedImages: true },
  },
  projectName: "Nuclei",
};

export function within(promise, what) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`waited too long: ${what}`)), PATIENCE).unref());
  return Promise.race([promise, late]);
}

// --- sockets -----------------------------------------------------------------------------------------------------------

export class Page {
  static all = [];

  constructor(token, options = {}) {
    Page.all.push(this);
    this.events = [];
    this.waiting = new Set();
    this.socket = io(given.url, {
      forceNew: true,
      transports: given.transports,
      extraHeaders: token ? { Cookie: `access_token=${token}` } : {},
      reconnectionDelay: 20,
      reconnectionDelayMax: 100,
      ...options,
    });
    for (const name of EVENTS.map((event) => `export:${event}`).concat("unauthorized")) {
      this.socket.on(name, (data) => this.note(name, data));
    }
  }

  note(name, data) {
    this.events.push([name, data]);
    for (const check of this.waiting) check(name, data);
  }

  // The data of the first event of that name that comes, or has come.
  until(name) {
    const found = this.events.find(([known]) => known === name);
    if (found) return Promise.resolve(found[1]);
    const come = new Promise((resolve) => {
      const check = (known, data) => {
        if (known !== name) return;
        this.waiting.delete(check);
        resolve(data);
      };
      this.waiting.add(check);
    });
    return within(come, name);
  }

  connected() {
    if (this.socket.connected) return Promise.resolve();
    const come = new Promise((resolve, reject) => {
      this.socket.once("connect", resolve);
      this.socket.once("connect_error", reject);
    });
    return within(come, "connect");
  }

  // An answer comes before the events that wait, but those before the next answer: then all there is has been told.
  async caughtUp() {
    for (let round = 0; round < 3; round++) await within(this.socket.emitWithAck("leave-project", given.project), "an answer");
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }
}

export async function pages(...tokens) {
  const opened = tokens.map((token) => new Page(token));
  await Promise.all(opened.map((page) => page.connected()));
  return opened;
}

// --- calls ------------------------------------------------------------------------------------------------------------

function read(status, headers, bytes) {
  const type = headers("content-type") ?? "";
  const body = type.includes("json")
    ? JSON.parse(bytes.toString())
    : { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  return { status, type, disposition: headers("content-disposition") ?? null, body };
}

const clients = {
  async axios(method, path, body, headers) {
    const request = { method, url: given.url + path, data: body, headers, validateStatus: () => true, responseType: "arraybuffer" };
    const answer = await axios.request(request);
    return read(answer.status, (name) => answer.headers[name], Buffer.from(answer.data));
  },

  async fetch(method, path, body, headers) {
    const json = body === undefined ? {} : { "Content-Type": "application/json" };
    const answer = await fetch(given.url + path, { method, body: JSON.stringify(body), headers: { ...headers, ...json } });
    return read(answer.status, (name) => answer.headers.get(name), Buffer.from(await answer.arrayBuffer()));
  },
};

export function caller(kind, token) {
  const headers = token ? { Cookie: `access_token=${token}` } : {};
  return (method, path, body) => within(clients[kind](method, path, body, headers), `${method} ${path}`);
}

export async function ended(call, job) {
  for (;;) {
    const { body } = await call("GET", `${exportsOf}/${job}/status`);
    if (!["pending", "processing"].includes(body.status)) return body;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
