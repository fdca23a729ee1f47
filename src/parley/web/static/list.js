// The list of conversations.

import { $, arrange, copyOf, draw, show, write } from "./dom.js";
import { whenOf } from "./words.js";

const LINE = 200; // characters of a message that a row may have room for

/**
 * @typedef {import("./conversations.js").Conversation} Conversation
 * @typedef {object} Look what a row shows
 * @property {string} name
 * @property {string} when
 * @property {string} line
 * @property {import("./conversations.js").Mark} [mark]
 * @property {number} unread
 * @property {boolean} isOpen
 */

export class List {
  #people;
  #list = $("conversations");
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** @type {Map<string, string>} What each row shows: there may be hundreds. */
  #drawn = new Map();

  /**
   * @param {import("./people.js").People} people
   * @param {(peer: string) => void} onOpen
   */
  constructor(people, onOpen) {
    this.#people = people;
    this.#list.addEventListener("click", (/** @type {any} */ { target }) => {
      const row = target.closest("li");
      if (row) onOpen(row.dataset.peer);
    });
    this.#list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      this.#move(event);
    });
  }

  /** @param {Conversation[]} conversations @param {string | undefined} open the one shown */
  render(conversations, open) {
    const rows = conversations.map((conversation) => this.#row(conversation, open));
    arrange(this.#list, rows);
    show($("no-conversations"), !rows.length);
    const buttons = this.#buttons();
    const reached = buttons.find((button) => button === document.activeElement);
    const current = buttons.find((button) => button.ariaCurrent === "true");
    this.#stopAt(reached ?? current ?? buttons[0]);
  }

  /** Moves the focus to a row. @param {string | undefined} peer the first one, if it isn't there */
  focus(peer) {
    const row = this.#rows.get(peer ?? "") ?? this.#list.firstElementChild;
    row?.querySelector("button").focus();
  }

  /** @returns {HTMLButtonElement[]} */
  #buttons() {
    return [...this.#list.querySelectorAll("button")];
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const buttons = this.#buttons();
    const from = buttons.findIndex((button) => button === document.activeElement);
    const last = buttons.length - 1;
    const to = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const target = buttons[Math.min(Math.max(to, 0), last)];
    this.#stopAt(target);
    target.focus();
  }

  /** Tab leads to one row, and the arrows to the others. @param {HTMLButtonElement} row */
  #stopAt(row) {
    for (const button of this.#buttons()) {
      const tabIndex = button === row ? 0 : -1;
      if (button.tabIndex !== tabIndex) button.tabIndex = tabIndex;
    }
  }

  /** @param {Conversation} conversation @param {string | undefined} open */
  #row({ peer, latest, unread }, open) {
    const row = this.#rows.get(peer) ?? this.#newRow(peer);
    const look = {
      name: this.#people.nameOf(peer),
      when: latest ? whenOf(latest.at) : "",
      line: latest ? latest.text.slice(0, LINE).replace(/\s+/g, " ") : "No messages yet",
      mark: latest?.mark,
      unread,
      isOpen: peer === open,
    };
    const key = JSON.stringify(look);
    if (this.#drawn.get(peer) !== key) this.#draw(row, look);
    this.#drawn.set(peer, key);
    return row;
  }

  /** @param {string} peer */
  #newRow(peer) {
    const row = /** @type {HTMLElement} */ (copyOf("conversation-row"));
    row.dataset.peer = peer;
    this.#rows.set(peer, row);
    return row;
  }

  /** @param {HTMLElement} row @param {Look} look */
  #draw(row, { name, when, line, mark, unread, isOpen }) {
    const part = (/** @type {string} */ name) => /** @type {any} */ (row.querySelector(`.${name}`));
    this.#people.paint(part("avatar"), row.dataset.peer ?? "");
    write(part("name"), name);
    write(part("when"), when);
    write(part("line"), line);
    part("mark").classList.toggle("none", !mark);
    if (mark) draw(part("mark"), `mark-${mark}`);
    part("row").ariaCurrent = isOpen ? "true" : null;
    part("row").classList.toggle("has-unread", unread > 0);
    show(part("unread"), unread);
    write(part("count"), unread > 99 ? "99+" : String(unread));
  }
}
