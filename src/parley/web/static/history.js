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
    const first = this.#fetched.size === 0;
    /** @type {string | undefined} */
    let before;
    for (;;) {
      const chats = await this.#page(before);
      const caughtUp = first || chats.some(({ id }) => this.#fetched.has(id));
      this.#add(chats);
      before = oldestOf(chats)?.id;
      if (!before) this.complete = true;
      if (!before || caughtUp) return;
    }
  }

  /** Fetches one page more. Rejects if the connection is lost. */
  async earlier() {
    const chats = await this.#page(this.#oldest?.id);
    this.#add(chats);
    if (!chats.length) this.complete = true;
  }

  /** @param {string | undefined} before */
  async #page(before) {
    return Object.values(await this.#parley.all({ before, limit: PAGE })).flat();
  }

  /** @param {Chat[]} chats */
  #add(chats) {
    for (const chat of chats) {
      this.#fetched.add(chat.id);
      this.#take(chat);
    }
    this.#oldest = oldestOf(this.#oldest ? [...chats, this.#oldest] : chats);
  }
}

/** @param {Chat[]} chats @returns {Chat | undefined} */
function oldestOf(chats) {
  return chats.reduce(
    (oldest, chat) => (oldest && oldest.createdAt <= chat.createdAt ? oldest : chat),
    /** @type {Chat | undefined} */ (undefined),
  );
}
