// What was sent to me, fetched from the server page by page, the newest first.

const PAGE = 500;

/** @typedef {import("./parley.js").Chat} Chat */

export class History {
  #parley;
  #take;
  #fetched = new Set();
  /** @type {Chat | undefined} */
  #oldest;
  /** True once there is nothing older. */
  complete = false;

  /**
   * @param {import("./parley.js").Parley} parley
   * @param {(chat: Chat) => void} take is given each chat, also one that it has had
   */
  constructor(parley, take) {
    this.#parley = parley;
    this.#take = take;
  }

  /** Fetches the newest page; later, all that is new since. Rejects if the connection is lost. */
  async refresh() {
    if (!this.#oldest) return this.#begin();
    const fetched = [];
    let chats = await this.#page();
    while (chats.length) {
      fetched.push(...chats);
      if (chats.some(({ id }) => this.#fetched.has(id))) break;
      chats = await this.#page(oldestOf(chats));
    }
    this.#note(fetched); // not sooner: if a page fails, the next refresh must not stop here
  }

  /** Fetches one page more. Rejects if the connection is lost. */
  async earlier() {
    const chats = await this.#page(this.#oldest);
    this.#note(chats);
    // Of this page alone: if the server's clock was set back, an earlier page may have had a chat
    // with an earlier time, and asking with that one again would lead nowhere.
    this.#oldest = oldestOf(chats) ?? this.#oldest;
    this.complete = !chats.length;
  }

  async #begin() {
    await this.earlier();
    // So that nobody is offered more where there is none.
    if (this.#oldest && this.#fetched.size < PAGE) await this.earlier();
  }

  /** @param {Chat} [before] */
  async #page(before) {
    const chats = Object.values(await this.#parley.all({ before: before?.id, limit: PAGE })).flat();
    chats.forEach((chat) => this.#take(chat));
    return chats;
  }

  /** @param {Chat[]} chats */
  #note(chats) {
    for (const { id } of chats) this.#fetched.add(id);
  }
}

/** @param {Chat[]} chats @returns {Chat | undefined} */
function oldestOf(chats) {
  return chats.reduce(
    (oldest, chat) => (oldest && oldest.createdAt <= chat.createdAt ? oldest : chat),
    /** @type {Chat | undefined} */ (undefined),
  );
}
