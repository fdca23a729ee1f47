// Joins the connection, what has been said, and what is shown of it.

import { Banner } from "./banner.js";
import { Conversations } from "./conversations.js";
import { $ } from "./dom.js";
import { History } from "./history.js";
import { List } from "./list.js";
import { keptFailed, keptSent } from "./kept.js";
import { Parley, ParleyError } from "./parley.js";
import { Thread } from "./thread.js";
import { counted } from "./words.js";

const FRAME = 16; // milliseconds in which changes gather before they are shown
const PAUSE = 2_000; // milliseconds before what failed on a living connection is tried again
const PAGES = 5; // of history fetched at once, in search of older messages of one conversation

export class Chat {
  #people;
  #parley;
  #conversations;
  #sent;
  #failed;
  #history;
  #banner;
  #list;
  #thread;
  #windows;
  /** @type {string | undefined} With whom the open conversation is. */
  #open;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #due;
  /** @type {string[]} New messages that are to be read out. */
  #news = [];
  /** @type {string[]} What else is to be read out. */
  #notices = [];

  /**
   * @param {object} options
   * @param {string} options.me
   * @param {string} options.token
   * @param {import("./people.js").People} options.people
   * @param {(error: ParleyError) => void} options.onRefused the token is no good (any more)
   */
  constructor({ me, token, people, onRefused }) {
    this.#people = people;
    this.#parley = new Parley({
      token: () => token,
      account: me,
      storage: localStorage,
      receipts: true,
    });
    this.#conversations = new Conversations(me);
    this.#sent = keptSent(me);
    this.#failed = keptFailed(me);
    this.#history = new History(this.#parley, (chat) => this.#conversations.chat(chat));
    this.#banner = new Banner(this.#parley, (state) => this.#notices.push(state));
    this.#list = new List(people, (peer) => this.open(peer));
    this.#thread = new Thread(people, {
      send: (text) => this.#send(text),
      again: (entry) => this.#send(entry.text, entry.id),
      discard: ({ id }) => this.#discard(id),
      earlier: () => this.#earlier(),
      look: () => this.#changed(),
      back: () => this.back(),
    });
    // Other windows of the same user.
    this.#windows = new BroadcastChannel(`parley:${me}`);
    this.#windows.onmessage = ({ data }) => this.#hearWindow(data);
    this.#listen(onRefused);
    document.addEventListener("visibilitychange", () => this.#lookedAt());
    setInterval(() => this.#changed(), 60_000); // "Today" becomes "Yesterday"
  }

  start() {
    for (const chat of this.#sent.load()) this.#conversations.chat(chat);
    for (const draft of this.#failed.load()) this.#conversations.failed(draft, draft.problem);
    this.#takeOutbox();
    this.#banner.render();
    this.#render();
    this.#parley.connect();
  }

  /** Shows the conversation with somebody, who may be new. @param {string} peer */
  open(peer) {
    this.#open = peer;
    $("chat").dataset.pane = "thread";
    this.#thread.open(this.#conversations.with(peer));
    this.#render();
    this.#thread.focus();
  }

  /** Has somebody in the list. @param {string} peer */
  list(peer) {
    this.#conversations.with(peer);
    this.#changed();
  }

  /** Leads from the conversation to the list; where both are shown, with the keyboard only. */
  back() {
    $("chat").dataset.pane = "list";
    this.#list.focus(this.#open);
    this.#changed();
  }

  // -- the connection

  #lookedAt() {
    if (document.visibilityState === "visible" && this.#parley.state === "offline") {
      this.#parley.connect(); // somebody waits
    }
    this.#changed();
  }

  /** @param {(error: ParleyError) => void} onRefused */
  #listen(onRefused) {
    const parley = this.#parley;
    parley.on("state", (state) => {
      this.#banner.render();
      this.#changed();
      if (state === "connected") this.#synchronize();
    });
    parley.on("message", (chat) => {
      const isNew = this.#conversations.chat(chat);
      if (isNew && chat.sender !== this.#conversations.me) this.#tell(chat);
      this.#changed();
    });
    parley.on("stored", (chat) => {
      this.#sent.keep(chat);
      this.#failed.drop(chat.id);
      this.#conversations.chat(chat);
      this.#windows.postMessage({ stored: chat });
      this.#changed();
    });
    parley.on("failed", (draft, error) => {
      this.#failed.keep({ ...draft, problem: error.message });
      this.#conversations.failed(draft, error.message);
      this.#notices.push(`Not sent: ${error.message}`);
      this.#changed();
    });
    parley.on("received", ({ chatId }) => this.#delivered([chatId]));
    parley.on("error", (error) => {
      if (!String(error.code).startsWith("token_")) return;
      if (parley.state === "connected") return; // it ends now, and the next one is refused
      parley.close();
      onRefused(error);
    });
  }

  async #synchronize() {
    this.#takeOutbox();
    await this.#patiently(() => this.#history.refresh());
    this.#changed();
    for (const { receiver, chatIds } of this.#conversations.undelivered()) {
      const known = await this.#patiently(() => this.#parley.delivery(receiver, chatIds));
      this.#delivered(known ?? []);
    }
  }

  /**
   * Asks again while the server can't answer; undefined if it won't, or if the connection is lost:
   * with the next one, all is asked anew.
   * @template T @param {() => Promise<T>} request @returns {Promise<T | undefined>}
   */
  async #patiently(request) {
    for (;;) {
      try {
        return await request();
      } catch (error) {
        if (!(error instanceof ParleyError)) throw error;
        if (!error.retryable || this.#parley.state !== "connected") return undefined;
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    }
  }

  async #earlier() {
    if (!this.#open) return;
    const conversation = this.#conversations.with(this.#open);
    const before = conversation.entries.length;
    for (let pages = 0; pages < PAGES && !this.#history.complete; pages++) {
      await this.#history.earlier().catch(() => (pages = PAGES));
      if (conversation.entries.length > before) return;
    }
  }

  // -- messages

  /** @param {string} text @param {string} [id] of one that failed */
  #send(text, id) {
    if (!this.#open) return;
    this.#parley.send(this.#open, text, id).catch(() => {}); // the event `failed` tells
    if (id) this.#failed.drop(id); // it is in the outbox again
    this.#takeOutbox();
    this.#render();
  }

  /** Forgets one that failed. @param {string} id */
  #discard(id) {
    this.#failed.drop(id);
    this.#conversations.discard(id);
    this.#windows.postMessage({ discarded: id });
    this.#render();
  }

  /** Shows what waits to be sent, also what another window left behind. */
  #takeOutbox() {
    for (const draft of this.#parley.outbox) this.#conversations.draft(draft);
    this.#changed();
  }

  /** @param {string[]} chatIds */
  #delivered(chatIds) {
    for (const id of chatIds) {
      this.#sent.change(id, { received: true });
      this.#conversations.delivered(id);
    }
    this.#changed();
  }

  /** @param {{stored?: import("./parley.js").Chat, shown?: string, discarded?: string}} news */
  #hearWindow({ stored, shown, discarded }) {
    if (stored) this.#conversations.chat(stored);
    if (shown) this.#conversations.shown(shown);
    if (discarded) this.#conversations.discard(discarded);
    this.#changed();
  }

  // -- showing

  #changed() {
    this.#due ??= setTimeout(() => this.#render(), FRAME);
  }

  #render() {
    clearTimeout(this.#due);
    this.#due = undefined;
    this.#thread.render(!this.#history.complete && this.#parley.state === "connected");
    this.#acknowledge();
    this.#list.render(this.#conversations.list, this.#open);
    const { unread } = this.#conversations;
    document.title = unread ? `(${unread}) Parley` : "Parley";
    this.#readOut();
  }

  /** Says that messages were received: those that are in sight. */
  #acknowledge() {
    if (!this.#open || !this.#thread.inSight) return;
    for (const { id, owed } of this.#conversations.with(this.#open).entries) {
      if (!owed) continue;
      this.#conversations.shown(id);
      this.#parley.received(id);
      this.#windows.postMessage({ shown: id });
    }
  }

  /** Has a new message read out. @param {import("./parley.js").Chat} chat */
  #tell({ sender, message }) {
    const name = this.#people.nameOf(sender);
    this.#news.push(sender === this.#open ? `${name}: ${message}` : `New message from ${name}`);
  }

  #readOut() {
    const count = this.#news.length;
    const news = count > 1 ? [counted(count, "new message")] : this.#news;
    announce([...this.#notices, ...news].join(". "));
    this.#notices = [];
    this.#news = [];
  }
}

/** Has screen readers say something. @param {string} text */
function announce(text) {
  if (!text) return;
  const announcer = $("announcer");
  // The same text again would be no change, and not be read.
  announcer.textContent = announcer.textContent === text ? `${text}\u00a0` : text;
}
