// node scenarios.mjs NAME [ARGUMENT]: plays one scenario and prints what came of it as JSON. What has to come of it stands in
// ../test_node.py.

import { caller, ended, exportsOf, given, ORDER, Page, pages } from "./pages.mjs";

const call = caller("fetch", given.alice);

async function start() {
  const { status, body } = await call("POST", exportsOf, ORDER);
  if (status !== 200) throw new Error(`start: ${status} ${JSON.stringify(body)}`);
  return body.jobId;
}

const scenarios = {
  async complete() {
    const [first, second, bob, stranger] = await pages(given.alice, given.alice, given.bob, given.stranger);
    const job = await start();
    await Promise.all([first, second].map((page) => page.until("export:completed")));
    await Promise.all([bob, stranger].map((page) => page.caughtUp()));
    const told = { first: first.events, second: second.events, bob: bob.events, stranger: stranger.events };
    return { job, ...told, transport: first.transport, status: await ended(call, job) };
  },

  async cancel() {
    const [first, second] = await pages(given.alice, given.alice);
    const job = await start();
    await first.until("export:progress");
    const answers = [await call("POST", `${exportsOf}/${job}/cancel`), await call("POST", `${exportsOf}/${job}/cancel`)];
    await Promise.all([first, second].map((page) => page.until("export:cancelled")));
    first.socket.emit("export:cancel", { jobId: job, projectId: given.project }); // as the page does after the call
    await Promise.all([first, second].map((page) => page.caughtUp()));
    return { job, first: first.events, second: second.events, answers, status: await ended(call, job) };
  },

  async cancelBySocket() {
    const [page, stranger] = await pages(given.alice, given.stranger);
    const job = await start();
    await page.until("export:started");
    const wanted = { jobId: job, projectId: given.project };
    const refused = await stranger.socket.emitWithAck("export:cancel", wanted);
    const accepted = await page.socket.emitWithAck("export:cancel", wanted);
    await page.until("export:cancelled");
    return { accepted, refused, stranger: stranger.events, status: await ended(call, job) };
  },

  async reconnect() {
    const [page] = await pages(given.alice);
    const before = page.socket.id;
    const gone = new Promise((resolve) => page.socket.once("disconnect", resolve));
    page.socket.io.engine.close();
    const reason = await gone;
    await page.connected();
    await start();
    await page.until("export:completed");
    return { reason, before, after: page.socket.id, events: page.events };
  },

  async refused() {
    const messages = {};
    for (const [name, token, options] of [
      ["without", null, {}],
      ["broken", "x.y.z", {}],
      ["broken packet", null, { auth: { token: "x.y.z" } }],
    ]) {
      const page = new Page(token, options);
      messages[name] = await page.connected().then(() => "connected", (error) => error.message);
      page.socket.disconnect();
    }
    const page = new Page(null, { auth: { token: given.alice } }); // as older pages of the platform do
    await page.connected();
    await start();
    return { messages, jobId: (await page.until("export:completed")).jobId };
  },

  async rooms() {
    const [alice, stranger] = await pages(given.alice, given.stranger);
    const joined = await alice.socket.emitWithAck("join-project", given.project);
    const refused = await stranger.socket.emitWithAck("join-project", given.project);
    const left = await alice.socket.emitWithAck("leave-project", given.project);
    for (let round = 0; round < 40; round++) alice.socket.emit("join-project", given.project); // more than fits one packet
    alice.socket.emit("ping"); // pages do, to be sure
    await start();
    await alice.until("export:completed");
    await stranger.caughtUp();
    return { joined, refused, left, events: alice.events, stranger: stranger.events };
  },

  async upgrade() {
    const page = new Page(given.alice);
    const upgraded = new Promise((resolve) => page.socket.io.engine.once("upgrade", resolve));
    await page.connected();
    await start(); // events come before, while and after it changes over
    await upgraded;
    await page.until("export:completed");
    return { transport: page.transport, events: page.events };
  },

  async many(count) {
    const transports = [["websocket"], ["websocket"], ["polling", "websocket"], ["polling"]];
    const options = (number) => ({ transports: transports[number % transports.length] });
    const crowd = Array.from({ length: Number(count) }, (_, number) => new Page(given.alice, options(number)));
    await Promise.all(crowd.map((page) => page.connected()));
    await start();
    const ends = await Promise.all(crowd.map((page) => page.until("export:completed")));
    return { ends: ends.length, ids: [...new Set(ends.map((end) => end.jobId))], before: crowd.map((page) => page.events.length) };
  },

  async drained() {
    const [page] = await pages(given.alice);
    const gone = new Promise((resolve) => page.socket.once("disconnect", resolve));
    await page.caughtUp();
    setTimeout(() => console.log("ready"), 200); // by then the next poll is under way: who goes in it is missed at once
    return { reason: await gone };
  },

  // --- calls: a row for each answer, in their order ----------------------------------------------------------------------

  async answers(kind) {
    const rows = {};
    const page = caller(kind, given.alice);
    const nobody = caller(kind, null);
    const unknown = "3f0c6a52-1d0f-4c57-9a53-5f4b1c6f0e11";
    const note = async (name, answer) => (rows[name] = await answer).body;
    const at = (job, what) => `${exportsOf}/${job}/${what}`;

    await note("formats", page("GET", "/api/export/formats"));
    const { jobId: done } = await note("start", page("POST", exportsOf, ORDER));
    await note("start while one runs", page("POST", exportsOf, ORDER));
    await note("status", page("GET", at(done, "status")));
    await note("download too early", page("GET", at(done, "download")));
    await ended(page, done);
    await note("status when completed", page("GET", at(done, "status")));
    const { token } = await note("download token", page("POST", at(done, "download-token")));
    const link = new URLSearchParams({ token, filename: "Nuclei_2026-01-31.zip" });
    await note("link", nobody("GET", `${at(done, "download")}?${link}`));
    await note("link with an empty token", page("GET", `${at(done, "download")}?token=`));
    await note("link with a wrong token", page("GET", `${at(done, "download")}?token=x`));
    await note("download", page("GET", at(done, "download")));
    await note("cancel when completed", page("POST", at(done, "cancel")));

    const { jobId: gone } = await note("second start", page("POST", exportsOf, { options: ORDER.options }));
    await note("cancel", page("POST", at(gone, "cancel")));
    await note("cancel again", page("POST", at(gone, "cancel")));
    await note("status when cancelled", page("GET", at(gone, "status")));
    await note("download when cancelled", page("GET", at(gone, "download")));
    await note("token when cancelled", page("POST", at(gone, "download-token")));
    await note("history", page("GET", `${exportsOf}/history`));

    await note("nothing chosen", page("POST", exportsOf, { options: {} }));
    await note("no options", page("POST", exportsOf, { projectName: "x" }));
    await note("unknown project", page("POST", `/api/projects/${unknown}/export`, ORDER));
    await note("no project", page("POST", "/api/projects/not-a-uuid/export", ORDER));
    await note("unknown job", page("GET", at(unknown, "status")));
    await note("no login", nobody("POST", exportsOf, ORDER));
    return { rows, done, gone };
  },
};

const [name, argument] = process.argv.slice(2);
console.log(JSON.stringify(await scenarios[name](argument)));
for (const page of Page.all) page.socket.disconnect();
