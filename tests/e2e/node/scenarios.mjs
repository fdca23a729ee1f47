// What applications do with the official client.  Each scenario is a test of its own:
//
//     node scenarios.mjs NAME < settings.json
//
// with {url, secret, transports} as settings.  Exit status 0 if all went well.

import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const PATIENCE = 10_000; // milliseconds; only against hanging

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { url, secret, transports } = JSON.parse((await input.next()).value);
const sockets = [];

function token(user, seconds = 3600) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const content = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({
    sub: user,
    exp: Date.now() / 1000 + seconds,
  })}`;
  return `${content}.${createHmac("sha256", secret).update(content).digest("base64url")}`;
}

function make(options) {
  const socket = io(url, {
    forceNew: true,
    reconnectionDelay: 100,
    reconnectionDelayMax: 200,
    ...(transports && { transports }),
    ...options,
  });
  sockets.push(socket);
  return socket;
}

/** What comes with the next event of that name. */
function next(socket, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no "${event}" came`)), PATIENCE);
    socket.once(event, (data) => {
      clearTimeout(timer);
      resolve(data);
    });
  });
}

/** What comes with the next `count` messages. */
function messages(socket, count) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${chats.length} of ${count}`)), PATIENCE);
    const chats = [];
    socket.on("message", (chat) => {
      chats.push(chat);
      if (chats.length === count) {
        clearTimeout(timer);
        resolve(chats);
      }
    });
  });
}

async function connect(user = randomUUID()) {
  const socket = make({ auth: { token: token(user) } });
  await next(socket, "connect");
  return { user, socket };
}

const scenarios = {
  async acknowledgements() {
    const [alice, bob] = [await connect(), await connect()];
    const pong = next(alice.socket, "pong");
    alice.socket.emit("ping");
    assert.equal(await pong, "Hello World!");

    const arrived = messages(bob.socket, 3);
    const data = { receiver: bob.user, message: "hush Grüße 👋" };
    const first = await new Promise((resolve) =>
      alice.socket.emit("send message", data, resolve),
    );
    const second = await alice.socket.timeout(PATIENCE).emitWithAck("send message", data);
    alice.socket.emit("send message", data);
    const [one, two, three] = await arrived;
    assert.deepEqual([one, two], [first, second]);
    assert.equal(three.message, data.message);
    assert.deepEqual(Object.keys(one).sort(), [
      "createdAt",
      "id",
      "message",
      "received",
      "receiver",
      "sender",
    ]);

    const marked = await bob.socket.emitWithAck("receive message", { chatId: one.id });
    assert.deepEqual(marked, { chatId: one.id, received: true });
    const listed = next(bob.socket, "unreceived messages");
    bob.socket.emit("unreceived messages");
    assert.deepEqual(await listed, [two, three]);
    const all = await bob.socket.emitWithAck("all messages");
    assert.deepEqual(all, { [alice.user]: [{ ...one, received: true }, two, three] });
  },

  async refusal() {
    const socket = make({ auth: { token: "hush" } });
    socket.on("connect", () => assert.notEqual(socket.auth.token, "hush"));
    const error = await next(socket, "connect_error");
    assert.ok(error instanceof Error);
    assert.ok(error.message.length > 0);
    assert.deepEqual(error.data, { code: "token_invalid" });
    assert.equal(socket.connected, false);
    assert.equal(socket.active, false); // it gives up: only the application can help

    const user = randomUUID();
    socket.auth = { token: token(user) };
    socket.connect();
    await next(socket, "connect");
    const chat = await socket.emitWithAck("send message", { receiver: user, message: "hush" });
    assert.equal(chat.sender, user);
  },

  async header() {
    const user = randomUUID();
    const socket = make({ extraHeaders: { Authorization: `Bearer ${token(user)}` } });
    await next(socket, "connect");
    const chat = await socket.emitWithAck("send message", { receiver: user, message: "hush" });
    assert.equal(chat.sender, user);
  },

  async expiry() {
    const user = randomUUID();
    let asked = 0;
    const socket = make({
      auth: (callback) => callback({ token: token(user, asked++ === 0 ? 1 : 3600) }),
    });
    const error = next(socket, "error");
    const left = next(socket, "disconnect");
    await next(socket, "connect");
    assert.equal((await error).code, "token_expired");
    assert.notEqual(await left, "io server disconnect");
    await next(socket, "connect");
    assert.equal(asked, 2);
    const arrived = next(socket, "message");
    const chat = await socket.emitWithAck("send message", { receiver: user, message: "hush" });
    assert.deepEqual(await arrived, chat);
  },

  async burst() {
    const bob = await connect();
    const alice = make({ auth: { token: token(randomUUID()) } });
    const arrived = messages(bob.socket, 500);
    await next(alice, "connect"); // and, by default, upgrade meanwhile
    const answered = [];
    for (let number = 0; number < 500; number++) {
      const data = { receiver: bob.user, message: `hush ${number}` };
      alice.emit("send message", data, (chat) => answered.push(chat));
    }
    const chats = await arrived;
    const numbers = chats.map((chat) => Number(chat.message.split(" ")[1]));
    assert.deepEqual(numbers, [...Array(500).keys()]);
    await alice.emitWithAck("ping");
    assert.deepEqual(answered, chats);
    assert.deepEqual(await bob.socket.emitWithAck("unreceived messages"), chats);
  },

  // Where few events are allowed: nothing is lost or overtaken if one waits as one is told.
  async limits() {
    const [alice, bob] = [await connect(), await connect()];
    const errors = [];
    alice.socket.on("error", (error) => errors.push(error));
    const arrived = messages(bob.socket, 200);
    let left = Array.from({ length: 200 }, (_, number) => {
      return { id: randomUUID(), receiver: bob.user, message: `hush ${number}` };
    });
    for (let wait = 0; left.length; ) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      const answers = await Promise.all(
        left.map((draft) => alice.socket.timeout(PATIENCE).emitWithAck("send message", draft)),
      );
      left = left.filter((_, index) => answers[index].error);
      wait = Math.max(...answers.map(({ error }) => error?.retryAfter ?? 0));
    }
    const chats = await arrived;
    assert.deepEqual(
      chats.map(({ message }) => message),
      Array.from({ length: 200 }, (_, number) => `hush ${number}`),
    );
    assert.ok(errors.length > 0);
    for (const { id, code, event, retryable, retryAfter } of errors) {
      assert.deepEqual([id, code, event], [alice.user, "rate_limited", "send message"]);
      assert.ok(retryable && Number.isInteger(retryAfter) && retryAfter > 0);
    }
    assert.deepEqual(await bob.socket.emitWithAck("unreceived messages"), chats);
  },

  async crowd() {
    const auth = { token: token(randomUUID()) };
    const crowd = Array.from({ length: 10 }, () => make({ auth }));
    const refusals = [];
    for (const socket of crowd) socket.on("connect_error", ({ data }) => refusals.push(data));
    await Promise.all(crowd.map((socket) => next(socket, "connect")));
    assert.deepEqual(refusals.filter((data) => data), []);
  },

  async volatile() {
    const [alice, bob] = [await connect(), await connect()];
    const numbers = [];
    bob.socket.on("message", (chat) => numbers.push(Number(chat.message.split(" ")[1])));
    for (let number = 0; number < 500; number++) {
      const data = { receiver: bob.user, message: `hush ${number}` };
      alice.socket.volatile.emit("send message", data);
      if (number % 100 === 99) await alice.socket.emitWithAck("ping");
    }
    await alice.socket.emitWithAck("send message", { receiver: bob.user, message: "hush 500" });
    await bob.socket.emitWithAck("ping");
    assert.ok(numbers.length > 1);
    assert.equal(numbers.at(-1), 500);
    const sorted = [...new Set(numbers)].sort((one, other) => one - other);
    assert.deepEqual(numbers, sorted);
  },

  async binary() {
    const { user, socket } = await connect();
    for (const message of [Buffer.from("hush"), new Uint8Array(0)]) {
      const error = next(socket, "error");
      const answer = await socket.emitWithAck("send message", { receiver: user, message });
      assert.deepEqual(answer, { error: await error });
      assert.equal(answer.error.code, "bad_request");
      assert.equal(answer.error.id, user);
    }
    const error = next(socket, "error");
    socket.emit("sing", Buffer.from("hush"), "hush", [Buffer.from("hush")]);
    assert.equal((await error).code, "unknown_event");
    assert.equal(await socket.emitWithAck("ping"), "Hello World!");
  },

  async restart() {
    const { user, socket } = await connect();
    const before = await socket.emitWithAck("send message", { receiver: user, message: "hush" });
    const left = next(socket, "disconnect");
    console.log("restart, please");
    assert.notEqual(await left, "io server disconnect");
    const again = next(socket, "connect");
    // Buffered by the client until it is back.
    const after = socket.emitWithAck("send message", { receiver: user, message: "hush again" });
    await again;
    const chats = [before, await after];
    assert.deepEqual(await socket.emitWithAck("unreceived messages"), chats);
  },

  async transport() {
    const { socket } = await connect();
    const engine = socket.io.engine;
    const wanted = transports ? transports[0] : "websocket";
    if (engine.transport.name !== wanted) await next(engine, "upgrade");
    assert.equal(engine.transport.name, wanted);
    assert.equal(await socket.emitWithAck("ping"), "Hello World!");
  },
};

await scenarios[process.argv[2]]();
for (const socket of sockets) socket.disconnect();
input.return();
process.stdin.destroy();
