// What only this browser has, kept in it: messages of mine, one key for each, so that windows don't
// overwrite one another's.

const KEPT = 500;
const ROOM = 1_000_000; // characters; browsers have about 5 million, and the outbox needs some

/**
 * @typedef {import("./parley.js").Chat} Chat
 * @typedef {import("./parley.js").Draft & {problem: string}} Failed
 */

/** @template {{id: string}} T */
class Kept {
  #prefix;
  #timeOf;

  /** @param {string} prefix of the keys @param {(message: T) => number} timeOf */
  constructor(prefix, timeOf) {
    this.#prefix = prefix;
    this.#timeOf = timeOf;
  }

  /** The newest of them; older ones are dropped now. @returns {T[]} */
  load() {
    let room = ROOM;
    return this.#all().filter((message, i) => {
      room -= JSON.stringify(message).length;
      if (i < KEPT && room >= 0) return true;
      this.drop(message.id);
      return false;
    });
  }

  /** Keeps a message, or what is new about it. @param {T} message */
  keep(message) {
    const text = JSON.stringify(message);
    const old = this.#fits(message.id, text) ? [] : this.#all();
    while (old.length && !this.#fits(message.id, text)) {
      this.drop(/** @type {T} */ (old.pop()).id);
    }
  }

  /** @param {string} id @param {Partial<T>} news */
  change(id, news) {
    const text = localStorage.getItem(this.#prefix + id);
    if (text) this.keep({ ...JSON.parse(text), ...news });
  }

  /** @param {string} id */
  drop(id) {
    localStorage.removeItem(this.#prefix + id);
  }

  /** The newest first. @returns {T[]} */
  #all() {
    const ours = Object.entries(localStorage).filter(([key]) => key.startsWith(this.#prefix));
    const messages = ours.map(([, text]) => JSON.parse(text));
    return messages.sort((a, b) => this.#timeOf(b) - this.#timeOf(a));
  }

  /** @param {string} id @param {string} text */
  #fits(id, text) {
    try {
      localStorage.setItem(this.#prefix + id, text);
      return true;
    } catch {
      return false; // it is full
    }
  }
}

/** What I sent: the server lists only what was sent to a user. @param {string} account */
export function keptSent(account) {
  const timeOf = (/** @type {Chat} */ { createdAt }) => createdAt;
  return new Kept(`parley:sent:${account}:`, timeOf);
}

/** What couldn't be sent, until it is sent again or deleted. @param {string} account */
export function keptFailed(account) {
  const timeOf = (/** @type {Failed} */ { at }) => at;
  return new Kept(`parley:failed:${account}:`, timeOf);
}
