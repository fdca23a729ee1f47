// One conversation: its messages, and where the next one is written.

import { $, arrange, copyOf, draw, show, write } from "./dom.js";
import { counted, dayName, dayOf, isEmoji, markName, momentOf, timeOf } from "./words.js";

const WINDOW = 150; // messages shown at first, and more each time
const GROUP = 5 * 60_000; // milliseconds between messages that belong together
const CLOSE = 40; // pixels from the end that count as being there

/**
 * @typedef {import("./conversations.js").Conversation} Conversation
 * @typedef {import("./conversations.js").Entry} Entry
 * @typedef {object} Actions what the user does here
 * @property {(text: string) => void} send
 * @property {(entry: Entry) => void} again sends what failed
 * @property {(entry: Entry) => void} discard forgets what failed
 * @property {() => Promise<void>} earlier fetches older messages
 * @property {() => void} look may have brought messages into sight
 * @property {() => void} back
 */

export class Thread {
  #people;
  #actions;
  #log = $("log");
  #text = $("text");
  /** @type {Conversation | undefined} */
  #conversation;
  #window = WINDOW;
  #atEnd = true;
  /** @type {Map<string, HTMLElement>} */
  #nodes = new Map();
  /** @type {Map<string, string>} What was being written, by peer. */
  #unsent = new Map();

  /** @param {import("./people.js").People} people @param {Actions} actions */
  constructor(people, actions) {
    this.#people = people;
    this.#actions = actions;
    this.#log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#atEnd && this.#toEnd()).observe(this.#log);
    $("newer").addEventListener("click", () => {
      this.#toEnd();
      this.#log.focus(); // the button goes away
    });
    $("earlier").addEventListener("click", () => this.#showEarlier());
    $("back").addEventListener("click", () => actions.back());
    $("composer").addEventListener("submit", (/** @type {Event} */ event) => this.#submit(event));
    this.#text.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      // 229: the key ends a composition, in Safari, which says that there is none.
      const composes = event.isComposing || event.keyCode === 229;
      if (event.key === "Enter" && !event.shiftKey && !composes) this.#submit(event);
    });
    this.#text.addEventListener("input", () => this.#fit());
  }

  /** True if the end of the conversation is in sight. */
  get inSight() {
    return this.#atEnd && this.#log.clientHeight > 0 && document.visibilityState === "visible";
  }

  /** @param {Conversation | undefined} conversation none: an empty pane */
  open(conversation) {
    if (this.#conversation) this.#unsent.set(this.#conversation.peer, this.#text.value);
    this.#conversation = conversation;
    this.#window = WINDOW;
    this.#atEnd = true;
    this.#nodes.clear();
    show($("somebody"), conversation);
    show($("nobody"), !conversation);
    if (!conversation) return;
    this.#people.paint($("peer-avatar"), conversation.peer);
    write($("peer-name"), this.#people.nameOf(conversation.peer));
    write($("peer-id"), conversation.peer);
    this.#text.value = this.#unsent.get(conversation.peer) ?? "";
    this.#fit();
  }

  /** Where writing goes on; on a touch screen, that would cover half of the log with a keyboard. */
  focus() {
    (matchMedia("(pointer: coarse)").matches ? this.#log : this.#text).focus();
  }

  /** @param {boolean} more whether the server may have older messages */
  render(more) {
    if (!this.#conversation) return;
    const entries = this.#conversation.entries.slice(-this.#window);
    const fromEnd = this.#log.scrollHeight - this.#log.scrollTop;
    this.#atEnd &&= this.#isAtEnd(); // the event of a scroll comes later than the scroll
    const grewUp = entries.length > 0 && !this.#nodes.has(entries[0].id);
    arrange($("messages"), this.#items(entries));
    show($("earlier"), more || entries.length < this.#conversation.entries.length);
    show($("no-messages"), !entries.length);
    if (this.#atEnd) this.#toEnd();
    else if (grewUp) this.#log.scrollTop = this.#log.scrollHeight - fromEnd;
    this.#pointDown();
  }

  // -- messages

  /** @param {Entry[]} entries @returns {HTMLElement[]} */
  #items(entries) {
    return entries.flatMap((entry, i) => {
      const [before, after] = [entries[i - 1], entries[i + 1]];
      const item = this.#item(entry);
      item.classList.toggle("first", !belong(before, entry));
      item.classList.toggle("last", !belong(entry, after));
      const newDay = !before || dayOf(before.at) !== dayOf(entry.at);
      return newDay ? [this.#day(entry.at), item] : [item];
    });
  }

  /** @param {number} at @returns {HTMLElement} */
  #day(at) {
    const key = dayOf(at);
    const item = this.#nodes.get(key) ?? copyOf("day");
    this.#nodes.set(key, item);
    write(item.firstElementChild, dayName(at));
    return item;
  }

  /** @param {Entry} entry @returns {HTMLElement} */
  #item(entry) {
    const item = this.#nodes.get(entry.id) ?? this.#newItem(entry);
    const mark = item.querySelector(".mark");
    const time = item.querySelector("time");
    time.dateTime = new Date(entry.at).toISOString();
    time.title = momentOf(entry.at);
    write(time, timeOf(entry.at));
    if (entry.mark) {
      item.dataset.mark = entry.mark;
      draw(mark, `mark-${entry.mark}`);
      mark.setAttribute("aria-label", markName(entry.mark));
    } else mark?.remove();
    show(item.querySelector(".failure"), entry.mark === "failed");
    write(item.querySelector(".reason"), `Not sent: ${entry.problem ?? ""}`);
    return item;
  }

  /** @param {Entry} entry @returns {any} */
  #newItem(entry) {
    const { peer } = /** @type {Conversation} */ (this.#conversation);
    const item = copyOf("message");
    item.dataset.id = entry.id;
    item.classList.add(entry.mine ? "mine" : "theirs");
    item.classList.toggle("emoji", isEmoji(entry.text));
    const author = entry.mine ? "You" : this.#people.nameOf(peer);
    item.querySelector(".author").textContent = `${author}:`;
    item.querySelector(".text").textContent = entry.text;
    for (const action of /** @type {const} */ (["again", "discard"])) {
      item.querySelector(`.${action}`).addEventListener("click", () => {
        this.#log.focus(); // the button goes away
        this.#actions[action](entry);
      });
    }
    this.#nodes.set(entry.id, item);
    return item;
  }

  // -- scrolling

  #scrolled() {
    this.#atEnd = this.#isAtEnd();
    this.#pointDown();
    this.#actions.look();
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight < CLOSE;
  }

  #toEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  #pointDown() {
    const unread = this.#conversation?.unread ?? 0;
    show($("newer"), !this.#atEnd);
    write($("newer-text"), unread ? counted(unread, "new message") : "Latest");
  }

  async #showEarlier() {
    const conversation = this.#conversation;
    this.#window += WINDOW;
    if (conversation && conversation.entries.length < this.#window) await this.#actions.earlier();
    this.#actions.look();
  }

  // -- writing

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    const text = this.#text.value.trim();
    if (!text) return;
    this.#text.value = "";
    this.#fit();
    this.#atEnd = true;
    this.#toEnd();
    this.#actions.send(text);
    this.#text.focus();
  }

  /** As many lines as are written, up to what the style allows. */
  #fit() {
    const { style, offsetHeight, clientHeight } = this.#text;
    style.height = "auto";
    style.height = `${this.#text.scrollHeight + offsetHeight - clientHeight}px`;
  }
}

/** True if `b` goes on where `a`, before it, ended. @param {Entry} [a] @param {Entry} [b] */
function belong(a, b) {
  return a && b && a.mine === b.mine && b.at - a.at < GROUP && dayOf(a.at) === dayOf(b.at);
}
