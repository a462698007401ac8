// How the page stays up to date: by a WebSocket, else by Server-Sent Events, else by asking every other second.
//
// Whatever the way, the daemon is asked for the events after the last one that came (`since`), and then for all exports as
// they are now. Events carry a number for each export, and the store takes each only once: so nothing is missed and
// nothing is told twice, however often the line breaks.

import { api, Refused, Unreachable } from "./api.js";

const POLL = 2000; // ms between two looks without events
const POLLS = 30; // looks before a better way is tried again
const OPENING = 6000; // ms that a line may take to open
const HEARTBEAT = 20000; // ms between two pings
const PATIENCE = 8000; // ms that a pong may take
const SILENCE = 40000; // ms without a byte on a stream, on which something is to come every 15 s
const FIRST_DELAY = 500;
const LAST_DELAY = 15000;

// Nothing broke: it is time to look for a better way.
const AGAIN = Symbol("again");

// A line that was never open: this way does not work here.
class NotOpened extends Error {}

export class Live {
  #store;
  #refresh;
  #wake = () => {};
  #last = null; // id of the last event, for Last-Event-ID

  // `refresh` asks for all exports and gives them to the store; it throws what a call throws.
  constructor(store, refresh) {
    this.#store = store;
    this.#refresh = refresh;
    window.addEventListener("online", () => this.retry());
  }

  // Ends a wait: somebody came back to the page, or asked for it.
  retry() {
    this.#wake();
  }

  async run() {
    let delay = FIRST_DELAY;
    for (;;) {
      try {
        if (await this.#once(() => { delay = FIRST_DELAY; }) === AGAIN) continue;
      } catch (error) {
        if (!(error instanceof Unreachable || error instanceof Refused)) console.error(error); // ours; the line is tried again
        if (error.status === 401) this.#store.set({ loggedOut: true });
      }
      this.#store.set({ link: { mode: "lost", until: Date.now() + delay } });
      await this.#sleep(delay);
      delay = Math.min(LAST_DELAY, delay * 2);
    }
  }

  // Follows the best way that works, until the line breaks or another way is to be tried. Throws when the daemon cannot be asked at all.
  async #once(opened) {
    for (const follow of [this.#socket, this.#stream, this.#poll]) {
      try {
        return await follow.call(this, opened);
      } catch (error) {
        if (!(error instanceof NotOpened)) throw error;
      }
      await this.#refresh();
    }
  }

  async #healed(mode, opened) {
    await this.#refresh();
    opened();
    this.#store.set({ link: { mode } });
  }

  #take(frame) {
    if (!frame.data) return;
    this.#last = `${frame.data.jobId}:${frame.seq}`;
    if (this.#store.take(frame)) this.#complete(frame.data);
  }

  // The rest of an export of which an event told a part.
  #complete({ jobId, projectId }) {
    api.status({ id: jobId, projectId }).then(
      (job) => this.#store.merge([job], { mine: true }),
      () => {}, // it was removed, or the line is lost: the next refresh tells
    );
  }

  // --- WebSocket ------------------------------------------------------------------------------------------------------

  #socket(opened) {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws`);
    const say = (message) => socket.send(JSON.stringify(message));
    return new Promise((resolve, reject) => {
      let wasOpen = false;
      let pong = null;
      const opening = setTimeout(() => socket.close(), OPENING);
      const beat = setInterval(() => { if (wasOpen) ping(() => {}); }, HEARTBEAT);
      const ping = (then) => {
        const late = setTimeout(() => socket.close(), PATIENCE);
        pong = () => { clearTimeout(late); then(); };
        say({ action: "ping" });
      };
      const gone = () => {
        clearTimeout(opening);
        clearInterval(beat);
        pong = null;
        window.removeEventListener("offline", gone);
        socket.onmessage = socket.onclose = null;
        socket.close();
        if (wasOpen) resolve();
        else reject(new NotOpened());
      };
      window.addEventListener("offline", gone);
      socket.onopen = () => {
        clearTimeout(opening);
        wasOpen = true;
        // What was missed first, then everything again. The pong comes when all of that is told.
        for (const job of this.#store.active().filter(({ id }) => this.#store.mine.has(id))) {
          say({ action: "subscribe", jobId: job.id, since: job.seq });
        }
        say({ action: "subscribe" });
        ping(() => this.#healed("live", opened).catch(gone));
      };
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        if (frame.event === "pong") pong?.();
        else this.#take(frame);
      };
      socket.onclose = gone;
    });
  }

  // --- Server-Sent Events ---------------------------------------------------------------------------------------------

  // By fetch: an EventSource cannot be told where to begin.
  async #stream(opened) {
    const stop = new AbortController();
    const gone = () => stop.abort();
    let silent = setTimeout(gone, OPENING);
    window.addEventListener("offline", gone);
    const headers = this.#last ? { "Last-Event-ID": this.#last } : {};
    const lines = await fetch("/api/exports/events", { headers, signal: stop.signal }).then(
      (answer) => (answer.ok ? answer.body.pipeThrough(new TextDecoderStream()).getReader() : null),
      () => null,
    );
    let seen = "";
    let wasOpen = false;
    try {
      if (!lines) throw new NotOpened();
      for (;;) {
        const { value, done } = await lines.read();
        clearTimeout(silent);
        silent = setTimeout(gone, SILENCE);
        if (done && !wasOpen) throw new NotOpened();
        if (done) return;
        const events = (seen + value).split("\n\n");
        seen = events.pop();
        events.forEach((event) => this.#heard(event));
        if (wasOpen || !events.length) continue;
        wasOpen = true;
        await this.#healed("stream", opened);
      }
    } catch (error) {
      if (error instanceof Refused || error instanceof Unreachable) throw error;
      if (!wasOpen) throw new NotOpened(); // something on the way holds the stream back
    } finally {
      clearTimeout(silent);
      window.removeEventListener("offline", gone);
      stop.abort();
    }
  }

  #heard(event) {
    const data = event.split("\n").find((line) => line.startsWith("data: "));
    if (data) this.#take(JSON.parse(data.slice("data: ".length)));
  }

  // --- asking ---------------------------------------------------------------------------------------------------------

  async #poll(opened) {
    for (let look = 0; look < POLLS; look += 1) {
      await this.#healed("polling", opened);
      await this.#sleep(POLL);
    }
    return AGAIN;
  }

  #sleep(delay) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => { clearTimeout(timer); resolve(); };
    });
  }
}
