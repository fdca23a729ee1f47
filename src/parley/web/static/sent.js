// What I sent. The server lists only what was sent to a user, so this browser keeps the rest.

const KEPT = 500;

/** @typedef {import("./parley.js").Chat} Chat */

export class Sent {
  #prefix;

  /** @param {string} account */
  constructor(account) {
    this.#prefix = `parley:sent:${account}:`;
  }

  /** The newest of them; older ones are dropped now. @returns {Chat[]} */
  load() {
    const chats = this.#all();
    for (const chat of chats.splice(KEPT)) this.#drop(chat);
    return chats;
  }

  /** Keeps a chat, or what is new about it. @param {Chat} chat */
  keep(chat) {
    const text = JSON.stringify(chat);
    const old = this.#fits(chat.id, text) ? [] : this.#all();
    // One key for each, so that windows don't overwrite one another's.
    while (old.length && !this.#fits(chat.id, text)) this.#drop(/** @type {Chat} */ (old.pop()));
  }

  /** The receiver has it. @param {string} chatId */
  delivered(chatId) {
    const text = localStorage.getItem(this.#prefix + chatId);
    if (text) this.keep({ ...JSON.parse(text), received: true });
  }

  /** The newest first. @returns {Chat[]} */
  #all() {
    const ours = Object.entries(localStorage).filter(([key]) => key.startsWith(this.#prefix));
    const chats = ours.map(([, text]) => JSON.parse(text));
    return chats.sort((a, b) => b.createdAt - a.createdAt);
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

  /** @param {Chat} chat */
  #drop({ id }) {
    localStorage.removeItem(this.#prefix + id);
  }
}
