// What sites may rely on when they use the page's own client, parley.js, against a real server:
//
//     node sdk.test.mjs < settings.json
//
// with {sdk, url, limited, secret} as settings; the server's heartbeat should be a short one.  The
// one at `limited` has the same secret, and lets nobody send more than some 20 events a second.

import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { afterEach, test } from "node:test";
import { WebSocket } from "ws";
import { Line } from "./line.mjs";

const PATIENCE = 15_000; // milliseconds; less than the client itself has when it connects

// As browsers have it: one that fails raises nothing.
globalThis.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.on("error", () => {});
  }
};

const input = createInterface({ input: process.stdin });
const { sdk, url, limited, secret } = JSON.parse((await input[Symbol.asyncIterator]().next()).value);
input.close();
process.stdin.destroy();
const { Parley, ParleyError } = await import(pathToFileURL(sdk).href);

const opened = [];
afterEach(() => opened.splice(0).forEach((each) => each.close()));

function token(user, seconds = 3600) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: user, exp: Date.now() / 1000 + seconds };
  const content = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${content}.${createHmac("sha256", secret).update(content).digest("base64url")}`;
}

/** What `localStorage` is in a browser. */
class Storage {
  setItem(key, text) {
    this[key] = text;
  }
  removeItem(key) {
    delete this[key];
  }
}

/** A client of a user, and all that it tells. */
function client(user = randomUUID(), options = {}) {
  const parley = new Parley({ url, token: () => token(user), account: user, ...options });
  const heard = { state: [], message: [], stored: [], failed: [], received: [], error: [] };
  for (const [event, list] of Object.entries(heard)) {
    parley.on(event, (...values) => list.push(values.length === 1 ? values[0] : values));
  }
  opened.push(parley);
  return { user, parley, heard };
}

async function connected(...given) {
  const made = client(...given);
  made.parley.connect();
  await until(() => made.parley.state === "connected", "it doesn't connect");
  return made;
}

async function until(done, complaint) {
  const deadline = Date.now() + PATIENCE;
  while (!(await done())) {
    assert.ok(Date.now() < deadline, complaint);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function line() {
  const made = new Line(new URL(url));
  await made.open();
  opened.push(made);
  return made;
}

const texts = (chats) => chats.map(({ message }) => message);
const numbered = (count, word = "hush") => Array.from({ length: count }, (_, i) => `${word} ${i}`);

test("send resolves with the chat that is stored and delivered", async () => {
  const [alice, bob] = [await connected(), await connected()];
  const chat = await alice.parley.send(bob.user, "hush Grüße 👋");
  assert.deepEqual([chat.sender, chat.receiver], [alice.user, bob.user]);
  assert.equal(chat.message, "hush Grüße 👋");
  await until(() => bob.heard.message.length, "nothing came");
  assert.deepEqual(bob.heard.message, [chat]);
  assert.deepEqual(alice.heard.stored, [chat]);
  assert.deepEqual(await bob.parley.all(), { [alice.user]: [chat] });
});

test("what is sent before connecting goes out in order afterwards", async () => {
  const [alice, bob] = [client(), await connected()];
  const sent = numbered(50).map((text) => alice.parley.send(bob.user, text));
  assert.deepEqual(texts(alice.parley.outbox), numbered(50));
  alice.parley.connect();
  const chats = await Promise.all(sent);
  await until(() => bob.heard.message.length === 50, "not all came");
  assert.deepEqual(bob.heard.message, chats);
  assert.deepEqual(texts(chats), numbered(50));
  assert.deepEqual(alice.parley.outbox, []);
});

test("a message whose acknowledgement is lost is stored once", async () => {
  const wire = await line();
  const [alice, bob] = [await connected(undefined, { url: wire.url }), await connected()];
  wire.deafen();
  const sent = alice.parley.send(bob.user, "hush");
  await until(() => bob.heard.message.length, "nothing came");
  wire.cut();
  await until(() => alice.parley.state === "offline", "the loss isn't noticed");
  assert.equal(alice.parley.outbox.length, 1);
  wire.repair();
  const chat = await sent;
  await alice.parley.send(bob.user, "hush, the next");
  await until(() => bob.heard.message.length === 2, "the next doesn't come");
  assert.deepEqual(texts(bob.heard.message), ["hush", "hush, the next"]);
  assert.equal(bob.heard.message[0].id, chat.id);
});

test("what was said while the line is cut arrives after it", async () => {
  const wire = await line();
  const [alice, bob] = [await connected(undefined, { url: wire.url }), await connected()];
  await alice.parley.send(bob.user, "hush 0");
  wire.cut();
  const sent = numbered(5).slice(1).map((text) => alice.parley.send(bob.user, text));
  await until(() => alice.parley.state === "offline", "the loss isn't noticed");
  wire.repair();
  await Promise.all(sent);
  await until(() => bob.heard.message.length === 5, "not all came");
  assert.deepEqual(texts(bob.heard.message), numbered(5));
});

test("the outbox outlives the page", async () => {
  const [bob, storage] = [await connected(), new Storage()];
  const before = client(undefined, { storage });
  numbered(20).forEach((text) => before.parley.send(bob.user, text));
  const stranger = client(undefined, { storage });
  assert.deepEqual(stranger.parley.outbox, []);

  const after = client(before.user, { storage });
  assert.deepEqual(texts(after.parley.outbox), numbered(20));
  after.parley.connect();
  await until(() => after.heard.stored.length === 20, "they aren't sent");
  await until(() => bob.heard.message.length === 20, "not all came");
  assert.deepEqual(texts(bob.heard.message), numbered(20));
  assert.deepEqual(Object.keys(storage), []);
});

test("two pages with one outbox store each message once", async () => {
  const [bob, storage] = [await connected(), new Storage()];
  const user = randomUUID();
  const closed = client(user, { storage });
  numbered(30).forEach((text) => closed.parley.send(bob.user, text));
  const pages = [client(user, { storage }), client(user, { storage })];
  pages.forEach(({ parley }) => parley.connect());
  for (const { heard } of pages) {
    await until(() => heard.stored.length === 30, "a page doesn't learn that all is stored");
  }
  const marker = await pages[0].parley.send(bob.user, "hush, the end");
  await until(() => bob.heard.message.some(({ id }) => id === marker.id), "the end doesn't come");
  assert.deepEqual(texts(bob.heard.message), [...numbered(30), "hush, the end"]);
});

test("what came meanwhile is caught up page by page, in order, and once", async () => {
  const [alice, bob] = [await connected(), client()];
  const before = numbered(450, "hush before");
  await Promise.all(before.map((text) => alice.parley.send(bob.user, text)));
  const meanwhile = numbered(300, "hush meanwhile"); // while it catches up, too
  meanwhile.forEach((text) => alice.parley.send(bob.user, text));
  bob.parley.connect();
  await until(() => bob.heard.message.length >= 750, "not all came");
  assert.deepEqual(texts(bob.heard.message), [...before, ...meanwhile]);

  bob.parley.close();
  await alice.parley.send(bob.user, "hush, the last");
  bob.parley.connect();
  await until(() => bob.heard.message.length > 750, "the last doesn't come");
  assert.deepEqual(texts(bob.heard.message), [...before, ...meanwhile, "hush, the last"]);
});

test("a chat is said to be received also after a loss", async () => {
  const wire = await line();
  const bob = await connected(undefined, { url: wire.url });
  const alice = await connected();
  const first = await alice.parley.send(bob.user, "hush");
  await until(() => bob.heard.message.length, "nothing came");
  wire.cut();
  await until(() => bob.parley.state === "offline", "the loss isn't noticed");
  bob.parley.received(first.id);
  wire.repair();
  await until(async () => {
    const all = await bob.parley.all().catch(() => ({}));
    return all[alice.user]?.[0].received;
  }, "the server doesn't know");
});

test("a silent server is given up, and a token is asked for at every connection", async () => {
  const wire = await line();
  let asked = 0;
  const user = randomUUID();
  const alice = await connected(user, { url: wire.url, token: async () => token(user, 3600 + ++asked) });
  wire.deafen();
  await until(() => alice.parley.state === "offline", "the silence isn't noticed");
  assert.ok(alice.parley.retryAt > 0);
  wire.repair();
  await until(() => alice.parley.state === "connected", "it doesn't come back");
  assert.ok(asked >= 2);
  assert.deepEqual(alice.heard.state.slice(0, 4), ["connecting", "connected", "offline", "connecting"]);
  assert.equal(await alice.parley.ask("ping"), "Hello World!");
});

test("connecting again needn't be waited for", async () => {
  const wire = await line();
  const alice = await connected(undefined, { url: wire.url });
  wire.cut();
  await until(() => alice.parley.state === "offline", "the loss isn't noticed");
  wire.repair();
  alice.parley.connect();
  assert.equal(alice.parley.state, "connecting");
  await until(() => alice.parley.state === "connected", "it doesn't come back");
});

test("a refused token is told, and close() ends the attempts", async () => {
  const alice = client(undefined, { token: () => "hush" });
  alice.parley.on("error", () => alice.parley.close());
  alice.parley.connect();
  await until(() => alice.heard.error.length, "nothing is told");
  assert.ok(alice.heard.error[0] instanceof ParleyError);
  assert.equal(alice.heard.error[0].code, "token_invalid");
  assert.ok(alice.heard.error[0].message);
  assert.equal(alice.parley.state, "closed");
});

test("a token that can't be had is told, and asked for again", async () => {
  const user = randomUUID();
  const answers = [() => Promise.reject(new Error("hush")), () => token(user)];
  const alice = client(user, { token: () => answers.shift()() });
  alice.parley.connect();
  await until(() => alice.parley.state === "connected", "it doesn't connect");
  assert.deepEqual(alice.heard.error.map(({ message }) => message), ["hush"]);
});

test("a token that expires is told, and a new one is asked for", async () => {
  const user = randomUUID();
  const lives = [1, 3600];
  const alice = await connected(user, { token: () => token(user, lives.shift()) });
  await until(() => alice.heard.error.length, "nothing is told");
  assert.equal(alice.heard.error[0].code, "token_expired");
  await until(() => alice.heard.state.length === 5, "it doesn't come back");
  assert.equal(alice.parley.state, "connected");
});

test("a message that can't be stored fails, and holds up nothing", async () => {
  const storage = new Storage();
  const [alice, bob] = [await connected(undefined, { storage }), await connected()];
  const bad = alice.parley.send(bob.user, "hush".repeat(10_000));
  const good = alice.parley.send(bob.user, "hush");
  await assert.rejects(bad, (error) => error instanceof ParleyError && error.code === "bad_request");
  assert.equal((await good).message, "hush");
  const [[draft, error]] = alice.heard.failed;
  assert.equal(draft.message.length, 40_000);
  assert.equal(error.code, "bad_request");
  assert.deepEqual(alice.heard.error, []); // it was told once
  assert.deepEqual(Object.keys(storage), []);
});

test("a message that is larger than the server takes fails, and holds up nothing", async () => {
  const alice = await connected();
  const bob = randomUUID();
  const size = (message) =>
    JSON.stringify(["send message", { id: bob, receiver: bob, message }]).length + "421".length;
  const room = 1_000_000 - size(""); // of the server's MAX_PAYLOAD, for the first packet
  const [most, more] = ["m".repeat(room - 10), "m".repeat(room + 10)];
  await assert.rejects(alice.parley.send(bob, most), /at most 10000 characters/);
  await assert.rejects(alice.parley.send(bob, more), { code: "bad_request", message: "too large" });
  assert.equal((await alice.parley.send(bob, "hush")).message, "hush");
  assert.deepEqual(alice.heard.state, ["connecting", "connected"]);
});

test("a message that isn't text fails, and holds up nothing", async () => {
  const alice = await connected();
  await assert.rejects(alice.parley.send(randomUUID(), 1n), TypeError);
  assert.equal((await alice.parley.send(randomUUID(), "hush")).message, "hush");
});

test("a client that is closed is held by nothing, and heeds nothing", async () => {
  const network = new EventTarget();
  let listening = 0;
  globalThis.addEventListener = (...given) => (listening++, network.addEventListener(...given));
  globalThis.removeEventListener = (...given) => (listening--, network.removeEventListener(...given));
  const alice = await connected();
  network.dispatchEvent(new Event("offline"));
  assert.equal(alice.parley.state, "offline");
  network.dispatchEvent(new Event("online"));
  assert.equal(alice.parley.state, "connecting");
  alice.parley.close();
  network.dispatchEvent(new Event("online"));
  assert.equal(alice.parley.state, "closed");
  delete globalThis.addEventListener;
  delete globalThis.removeEventListener;
});

test("who is told to wait waits, and sends again in order", async () => {
  const [alice, bob] = [client(undefined, { url: limited }), client(undefined, { url: limited })];
  for (const { parley } of [alice, bob]) parley.connect();
  await until(() => bob.parley.state === "connected", "it doesn't connect");
  const chats = await Promise.all(numbered(80).map((text) => alice.parley.send(bob.user, text)));
  assert.deepEqual(texts(chats), numbered(80));
  await until(() => bob.heard.message.length === 80, "something is missing");
  assert.deepEqual(texts(bob.heard.message), numbered(80));
  assert.deepEqual(alice.heard.state, ["connecting", "connected"]);
  assert.deepEqual(alice.heard.failed, []);
  const metrics = await (await fetch(`${limited}/metrics`)).text();
  assert.match(metrics, /^parley_errors_total{code="rate_limited"} [1-9]/m);
});

test("asking while offline, or for what there isn't, rejects", async () => {
  const alice = client();
  const offline = (error) => error.code === "offline" && error.retryable;
  await assert.rejects(alice.parley.all(), offline);
  const bob = await connected();
  await assert.rejects(bob.parley.ask("dance"), { code: "unknown_event", retryable: false });
});

test("a listener that fails harms nobody else", async () => {
  const [alice, bob] = [client(), await connected()];
  const failures = [];
  process.setUncaughtExceptionCaptureCallback(({ message }) => failures.push(message));
  alice.parley.on("stored", () => {
    throw new Error("hush");
  });
  alice.parley.connect();
  await Promise.all(numbered(2).map((text) => alice.parley.send(bob.user, text)));
  assert.equal(alice.heard.stored.length, 2);
  assert.deepEqual(failures, ["hush", "hush"]);
  process.setUncaughtExceptionCaptureCallback(null);
});

test("a sender learns what was received, at once or by asking", async () => {
  const [alice, bob] = [await connected(undefined, { receipts: true }), await connected()];
  const chats = await Promise.all(numbered(3).map((text) => alice.parley.send(bob.user, text)));
  const ids = chats.map(({ id }) => id);
  bob.parley.received(ids[1]);
  await until(() => alice.heard.received.length, "nothing is told");
  assert.deepEqual(alice.heard.received, [{ chatId: ids[1], receiver: bob.user }]);
  assert.deepEqual(await alice.parley.delivery(bob.user, ids), [ids[1]]);
});
