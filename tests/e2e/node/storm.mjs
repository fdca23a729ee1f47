// Many clients, several at a time.  Each connects, gets messages while it does whatever it does
// about its transport, says that all of them have come once and in order, and leaves.
//
//     node storm.mjs < settings.json
//
// with {url, secret, transports, clients, together, messages} as settings; prints what happened as
// JSON.  Whatever a client notices of a server that doesn't know its session is a failure: nobody
// reconnects.

import { createHmac, randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const PATIENCE = 20_000; // milliseconds; only against hanging
const SHOWN = 20; // failures that are told, of however many

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const settings = JSON.parse((await input.next()).value);
const { url, secret, transports, clients, together, messages } = settings;
const report = { connected: 0, polling: 0, websocket: 0, messages: 0, failed: 0, failures: [] };

function token(user) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const content = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({
    sub: user,
    exp: Date.now() / 1000 + 3600,
  })}`;
  return `${content}.${createHmac("sha256", secret).update(content).digest("base64url")}`;
}

function open(user, options) {
  const auth = { token: token(user) };
  return io(url, { auth, forceNew: true, reconnection: false, ...options });
}

function connected(socket) {
  return new Promise((resolve) => socket.once("connect", resolve));
}

/** Ends when the client has moved to a WebSocket, if it is one that does. */
function upgraded(engine) {
  const final = (transports ?? ["websocket"])[0];
  if (engine.transport.name === final) return undefined;
  return new Promise((resolve) => engine.once("upgrade", resolve));
}

/** Rejects as soon as anything goes wrong. */
function trouble(socket) {
  return new Promise((_, reject) => {
    const fail = (what, error) =>
      reject(new Error([what, error?.description, error?.context?.responseText].join(" ")));
    socket.on("connect_error", (error) => fail(`refused: ${error.message}`, error));
    socket.on("disconnect", (reason, details) => fail(`disconnected: ${reason}`, details));
    socket.on("error", (error) => fail(`error: ${error.code}`));
    socket.io.engine.on("upgradeError", (error) => fail(`no upgrade: ${error.message}`, error));
    setTimeout(() => fail("too slow"), PATIENCE).unref();
  });
}

/** Has somebody send numbered messages, a few at every turn; ends when all are acknowledged. */
async function send(sender, who, receiver) {
  const answers = [];
  for (let number = 0; number < messages; number++) {
    const message = `hush ${who} ${number}`;
    answers.push(sender.emitWithAck("send message", { receiver, message }));
    if (number % 4 === 3) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return Promise.all(answers);
}

/** Throws if the acknowledged messages of one sender are not those that came from it, in order. */
function compare(acknowledged, chats, who) {
  const sent = [...Array(messages).keys()].map((number) => `hush ${who} ${number}`);
  const came = chats.map((chat) => chat.message).filter((text) => text.startsWith(`hush ${who} `));
  const answered = acknowledged.map((answer) => answer.message);
  for (const [what, texts] of Object.entries({ came, answered })) {
    if (texts.join() !== sent.join()) throw new Error(`${what} from ${who}: ${texts}`);
  }
}

async function visit(friend) {
  const user = randomUUID();
  const socket = open(user, transports && { transports });
  const chats = [];
  try {
    const complete = new Promise((resolve) => {
      socket.on("message", (chat) => {
        chats.push(chat);
        if (chats.length === 2 * messages) resolve();
      });
    });
    const all = async () => {
      await connected(socket);
      report.connected++;
      const [own, friends] = await Promise.all([
        send(socket, "me", user),
        send(friend, "friend", user),
        upgraded(socket.io.engine),
      ]);
      await complete;
      await socket.emitWithAck("ping"); // nothing comes twice behind it
      compare(own, chats, "me");
      compare(friends, chats, "friend");
      if (chats.length !== 2 * messages) throw new Error(`${chats.length} messages came`);
    };
    await Promise.race([all(), trouble(socket)]);
    report.messages += chats.length;
    report[socket.io.engine.transport.name]++;
  } catch (error) {
    report.failed++;
    if (report.failures.length < SHOWN) report.failures.push(error.message);
  } finally {
    socket.off();
    socket.disconnect();
  }
}

const friend = open(randomUUID(), { transports: ["websocket"] });
await connected(friend);
let left = clients;
async function visits() {
  while (left-- > 0) await visit(friend);
}
await Promise.all(Array.from({ length: together }, visits));
friend.disconnect();
console.log(JSON.stringify(report));
input.return();
process.stdin.destroy();
