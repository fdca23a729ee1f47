/**
 * A client for Parley: Socket.IO 5 over WebSocket, with an outbox.
 *
 *     const parley = new Parley({ token: () => fetch("/token").then((r) => r.text()) });
 *     parley.on("message", (chat) => { show(chat); parley.received(chat.id); });
 *     parley.connect();
 *     const chat = await parley.send(receiver, "Hello"); // it is stored
 *
 * Messages go out one by one, with ids made here: sent again, they are stored once.
 * With `storage` they outlive the page.
 *
 * @typedef {{id: string, sender: string, receiver: string, message: string, createdAt: number,
 *   received: boolean}} Chat
 * @typedef {{id: string, receiver: string, message: string, at: number}} Draft
 * @typedef {"closed" | "connecting" | "connected" | "offline"} State
 * @typedef {object} Options
 * @property {() => string | Promise<string>} token makes a JWT, for every connection
 * @property {string} [url] where Parley is; the page's origin
 * @property {Storage} [storage] keeps the outbox: `localStorage`
 * @property {string} [account] whose outbox it is; needed with `storage`
 * @property {boolean} [receipts] true for `delivery()` and the event `received`
 */

/** `code`: of Parley's protocol, or `offline`: no answer. */
export class ParleyError extends Error {
  code = "";
  retryable = false;
}

export class Parley {
  /** @type {State} */
  state = "closed";
  /** When it tries again: a Date.now(). */
  retryAt = 0;
  /** @type {Draft[]} Not stored yet, oldest first. */
  outbox = [];

  #options;
  #listeners = {};
  #socket;
  #attempt;
  #timer; // ends silence, or being offline
  #server; // its terms
  #failures = 0;
  #asks = 0;
  #asked = new Map();
  #sending = new Map();
  #flushing = false;
  #held; // pushed while older ones are fetched
  #shown = new Set();
  #receipts = new Set();

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#load();
  }

  /**
   * Events: `state` (State), `message` (Chat; each once and in order), `stored` (Chat), `failed`
   * (Draft, ParleyError), `received` ({chatId, receiver}), `error` (Error: code `token_...` if that
   * was refused).
   * @param {string} event @param {(...values: any[]) => void} listener
   * @returns {() => void} stops listening
   */
  on(event, listener) {
    (this.#listeners[event] ??= new Set()).add(listener);
    return () => this.#listeners[event].delete(listener);
  }

  /** Connects until `close()`. While offline: tries at once. */
  async connect() {
    if (this.#attempt) return;
    const attempt = (this.#attempt = {});
    this.#network("addEventListener");
    this.#after(20_000);
    this.#become("connecting");
    try {
      const token = await this.#options.token();
      if (attempt === this.#attempt) this.#open(token);
    } catch (error) {
      if (attempt === this.#attempt) this.#lose("offline", error);
    }
  }

  /** Disconnects; the outbox stays. */
  close() {
    this.#lose("closed");
    clearTimeout(this.#timer);
    this.#network("removeEventListener");
  }

  /**
   * Resolves when the message is stored.
   * @param {string} receiver @param {string} message @returns {Promise<Chat>}
   */
  send(receiver, message, id = uuid()) {
    const at = Math.max(Date.now(), (this.outbox.at(-1)?.at ?? 0) + 1);
    const draft = { id, receiver, message, at };
    this.outbox.push(draft);
    try {
      this.#options.storage?.setItem(this.#key(id), JSON.stringify(draft));
    } catch {} // full
    return new Promise((...settlers) => {
      this.#sending.set(id, settlers);
      this.#flush();
    });
  }

  /** Says that the user has a chat, until that is known. @param {string} chatId */
  async received(chatId) {
    this.#receipts.add(chatId);
    while (this.state === "connected" && this.#receipts.has(chatId)) {
      const answer = await this.ask("receive message", { chatId }).catch((error) => error);
      if (answer.retryable) await pause(answer);
      else this.#receipts.delete(chatId);
    }
  }

  /**
   * What was sent to the user, by sender. @param {{before?: string, after?: string,
   * limit?: number}} [query] @returns {Promise<Record<string, Chat[]>>}
   */
  all(query) {
    return this.ask("all messages", query);
  }

  /**
   * Which of at most 100 chats their receiver has.
   * @param {string} receiver @param {string[]} chatIds @returns {Promise<string[]>}
   */
  delivery(receiver, chatIds) {
    return this.ask("delivery", { receiver, chatIds });
  }

  /**
   * Emits an event, for its acknowledgement or a ParleyError.
   * @param {string} event @param {object} [data] @returns {Promise<any>}
   */
  ask(event, data) {
    return new Promise((...settlers) => {
      if (this.state !== "connected") throw offline();
      const packet = `42${++this.#asks}${JSON.stringify([event, data])}`;
      if (new Blob([packet]).size > this.#server.maxPayload) // else it ends each connection
        throw failure({ message: "too large", code: "bad_request" });
      this.#asked.set(this.#asks, settlers);
      this.#socket.send(packet);
    });
  }

  #open(token) {
    const { url = location.origin, receipts } = this.#options;
    const to = new URL("socket.io/?EIO=4&transport=websocket", url.replace("http", "ws"));
    const socket = (this.#socket = new WebSocket(to));
    const auth = JSON.stringify({ token, receipts });
    socket.onmessage = ({ data }) => socket === this.#socket && this.#take(data, auth);
    socket.onclose = () => socket === this.#socket && this.#lose();
  }

  #take(packet, auth) {
    const [, type, id, json] = /^(4?.)(\d*)(.*)/s.exec(packet);
    const data = json && JSON.parse(json);
    if (type === "0") this.#server = data;
    this.#after(this.#server.pingInterval + this.#server.pingTimeout);
    if (type === "0") this.#socket.send("40" + auth);
    else if (type === "2") this.#socket.send("3");
    else if (type === "40") this.#connected();
    else if (type === "42") this.#hear(data);
    else if (type === "43")
      settle(this.#asked, +id, data[0]?.error ? failure(data[0].error) : data[0]);
    else if (type === "44") this.#lose("offline", failure({ ...data, ...data.data }));
    else if (type === "41") this.#lose();
  }

  #connected() {
    this.#failures = 0;
    this.#load(); // other pages' drafts
    this.#become("connected");
    this.#flush();
    this.#catchUp();
    this.#receipts.forEach((id) => this.received(id));
  }

  #hear([name, data]) {
    if (name === "message") this.#held ? this.#held.push(data) : this.#show(data);
    else if (name !== "error") this.#emit(name, data);
    else if (!data.event) this.#emit(name, failure(data)); // else ask() rejects
  }

  async #catchUp() {
    const socket = this.#socket;
    this.#held ??= [];
    for (let chats; socket === this.#socket && chats?.length !== 0; ) {
      const query = { after: chats?.at(-1).id, limit: 200 };
      chats = await this.ask("unreceived messages", query).catch(pause);
      chats?.forEach(this.#show);
    }
    if (socket !== this.#socket) return;
    this.#held.forEach(this.#show);
    this.#held = undefined;
  }

  #show = (chat) => {
    if (this.#shown.has(chat.id)) return;
    this.#shown.add(chat.id);
    if (this.#shown.size > 50_000) this.#shown.delete(this.#shown.values().next().value);
    this.#emit("message", chat);
  };

  async #flush() {
    if (this.#flushing) return;
    this.#flushing = true;
    while (this.state === "connected" && this.outbox.length) {
      const { at, ...chat } = this.outbox[0];
      const outcome = await this.ask("send message", chat).catch((error) => error);
      if (outcome.retryable) await pause(outcome);
      else this.#sent(outcome);
    }
    this.#flushing = false;
  }

  #sent(outcome) {
    const draft = this.outbox.shift();
    if (outcome instanceof Error) this.#emit("failed", draft, outcome);
    else this.#emit("stored", outcome);
    this.#options.storage?.removeItem(this.#key(draft.id));
    settle(this.#sending, draft.id, outcome);
  }

  #load() {
    const known = this.outbox.map(({ id }) => this.#key(id));
    for (const [key, text] of Object.entries(this.#options.storage ?? {}))
      if (key.startsWith(this.#key("")) && !known.includes(key)) this.outbox.push(JSON.parse(text));
    this.outbox.sort((a, b) => a.at - b.at);
  }

  #key(id) {
    return `parley:outbox:${this.#options.account}:${id}`;
  }

  #network(change) {
    for (const event of ["online", "offline"]) globalThis[change]?.(event, this.#heed);
  }

  #heed = ({ type }) => (type === "online" ? this.connect() : this.#attempt && this.#lose());

  #lose(state = "offline", error) {
    const socket = this.#socket;
    this.#attempt = this.#socket = undefined;
    socket?.close();
    const wait = Math.min(30_000, 1000 * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.retryAt = Date.now() + wait;
    this.#after(wait, () => this.connect());
    this.#become(state);
    for (const id of this.#asked.keys()) settle(this.#asked, id, offline());
    if (error) this.#emit("error", error);
  }

  #after(wait, action = () => this.#lose()) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, wait);
  }

  #become(state) {
    this.state = state;
    this.#emit("state", state);
  }

  #emit(event, ...values) {
    this.#listeners[event]?.forEach((listener) => queueMicrotask(() => listener(...values)));
  }
}

const pause = ({ retryAfter = 1000 }) => new Promise((go) => setTimeout(go, retryAfter));
const failure = (error) => Object.assign(new ParleyError(), error);
const offline = () => failure({ message: "offline", code: "offline", retryable: true });

function settle(waiting, id, outcome) {
  const [resolve, reject] = waiting.get(id) ?? [];
  waiting.delete(id);
  (outcome instanceof Error ? reject : resolve)?.(outcome);
}

/** Without https there is no `crypto.randomUUID`. */
const uuid = () =>
  "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, () =>
    (crypto.getRandomValues(new Uint8Array(1))[0] % 16).toString(16),
  );
