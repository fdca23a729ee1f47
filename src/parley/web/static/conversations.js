// What has been said, and with whom. Knows neither the page nor the network.

/** How far a message of mine has come; none goes back once it is stored. */
const RANKS = { failed: 0, waiting: 0, stored: 1, received: 2 };

/**
 * @typedef {import("./parley.js").Chat} Chat
 * @typedef {keyof typeof RANKS} Mark
 * @typedef {object} Entry one message as a conversation shows it
 * @property {string} id
 * @property {string} text
 * @property {number} at milliseconds since 1970: by the server's clock, once it is stored
 * @property {boolean} mine
 * @property {Mark} [mark] of mine
 * @property {string} [problem] why it failed
 * @property {boolean} [owed] the server isn't told yet that it was received here
 */

export class Conversation {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {Entry[] | undefined} */
  #sorted;
  #unread = 0;

  /** @param {string} peer the other one's id */
  constructor(peer) {
    this.peer = peer;
  }

  /** Everything, the oldest first; what waits to be sent comes last. */
  get entries() {
    this.#sorted ??= [...this.#entries.values()].sort(byTime);
    return this.#sorted;
  }

  get latest() {
    return this.entries.at(-1);
  }

  /** How many of theirs haven't been shown. */
  get unread() {
    return this.#unread;
  }

  /** @param {string} id */
  get(id) {
    return this.#entries.get(id);
  }

  /**
   * Adds a message, or what is new about it; what is known is never taken back.
   * @param {Entry} entry @returns {boolean} whether the message is new here
   */
  put(entry) {
    const known = this.#entries.get(entry.id);
    if (known?.mark && entry.mark && RANKS[entry.mark] < RANKS[known.mark]) return false;
    const owed = Boolean(entry.owed && (known?.owed ?? true));
    this.#entries.set(entry.id, { ...entry, owed });
    this.#unread += count(owed, entry) - count(known?.owed, known);
    this.#sorted = undefined;
    return known === undefined;
  }

  /** Forgets a message. @param {string} id */
  remove(id) {
    this.#entries.delete(id);
    this.#sorted = undefined;
  }

  /** Takes note that a message has been shown. @param {string} id */
  settle(id) {
    const entry = this.#entries.get(id);
    if (entry?.owed) this.put({ ...entry, owed: false });
  }
}

/** @param {boolean | undefined} owed @param {Entry | undefined} entry */
function count(owed, entry) {
  return owed && !entry?.mine ? 1 : 0;
}

/** @param {Entry} a @param {Entry} b */
function byTime(a, b) {
  return Number(a.mark === "waiting") - Number(b.mark === "waiting") || a.at - b.at;
}

export class Conversations {
  /** @type {Map<string, Conversation>} */
  #byPeer = new Map();
  /** @type {Map<string, Conversation>} */
  #byChat = new Map();
  /** @type {Set<string>} Shown in another window before it came here. */
  #shownElsewhere = new Set();

  /** @param {string} me */
  constructor(me) {
    this.me = me;
  }

  /** The conversation with somebody, new if need be. @param {string} peer */
  with(peer) {
    let conversation = this.#byPeer.get(peer);
    if (!conversation) this.#byPeer.set(peer, (conversation = new Conversation(peer)));
    return conversation;
  }

  /** All of them, the one with the latest message first. */
  get list() {
    return [...this.#byPeer.values()].sort((a, b) => latestOf(b) - latestOf(a));
  }

  get unread() {
    return this.list.reduce((sum, { unread }) => sum + unread, 0);
  }

  /** A stored chat, to me or from me. @param {Chat} chat @returns {boolean} whether it is new */
  chat({ id, sender, receiver, message, createdAt, received }) {
    const mine = sender === this.me;
    const owed = receiver === this.me && !received && !this.#shownElsewhere.delete(id);
    const mark = mine ? (received ? "received" : "stored") : undefined;
    /** @type {Entry} */
    const entry = { id, text: message, at: createdAt, mine, mark, owed };
    return this.#put(mine ? receiver : sender, entry);
  }

  /** A message of mine that is on its way. @param {import("./parley.js").Draft} draft */
  draft({ id, receiver, message, at }) {
    this.#put(receiver, { id, text: message, at, mine: true, mark: "waiting" });
  }

  /**
   * A message of mine that can't be stored, and why.
   * @param {import("./parley.js").Draft} draft @param {string} problem
   */
  failed({ id, receiver, message, at }, problem) {
    this.#put(receiver, { id, text: message, at, mine: true, mark: "failed", problem });
  }

  /** A message of mine that failed is to be forgotten. @param {string} id */
  discard(id) {
    const conversation = this.#byChat.get(id);
    if (conversation?.get(id)?.mark !== "failed") return;
    conversation.remove(id);
    this.#byChat.delete(id);
  }

  /** The other one has it. @param {string} chatId */
  delivered(chatId) {
    const conversation = this.#byChat.get(chatId);
    const entry = conversation?.get(chatId);
    if (conversation && entry?.mine) conversation.put({ ...entry, mark: "received" });
  }

  /** It has been shown, here or in another window. @param {string} chatId */
  shown(chatId) {
    const conversation = this.#byChat.get(chatId);
    if (conversation) conversation.settle(chatId);
    else this.#shownElsewhere.add(chatId);
  }

  /** Ids of what I sent and nobody is known to have: for each receiver, `limit` at a time. */
  undelivered(limit = 100) {
    return this.list.flatMap(({ peer, entries }) => {
      const sent = entries.filter(({ mark }) => mark === "stored").reverse();
      return Array.from({ length: Math.ceil(sent.length / limit) }, (_, i) => ({
        receiver: peer,
        chatIds: sent.slice(i * limit, (i + 1) * limit).map(({ id }) => id),
      }));
    });
  }

  /** @param {string} peer @param {Entry} entry */
  #put(peer, entry) {
    const conversation = this.with(peer);
    this.#byChat.set(entry.id, conversation);
    return conversation.put(entry);
  }
}

/** @param {Conversation} conversation */
function latestOf({ latest }) {
  return latest?.at ?? 0;
}
