// Who is who: names and colours for ids. The server knows only ids; names stay in this browser.

const HUES = 8;
const PREFIX = "parley:name:";

const letters = new Intl.Segmenter();

export class People {
  #names = new Map();

  /** @param {{id: string, name: string}[]} ready people whose names are known */
  constructor(ready) {
    for (const [key, name] of Object.entries(localStorage)) {
      if (key.startsWith(PREFIX)) this.#names.set(key.slice(PREFIX.length), name);
    }
    for (const { id, name } of ready) this.#names.set(id, name);
  }

  /** @param {string} id */
  nameOf(id) {
    return this.#names.get(id) ?? `${id.slice(0, 8)}…`;
  }

  /** Keeps a name in this browser. @param {string} id @param {string} name */
  call(id, name) {
    this.#names.set(id, name);
    try {
      localStorage.setItem(PREFIX + id, name);
    } catch {
      // It is full: the name lives as long as the page does.
    }
  }

  /** Makes an element the avatar of somebody. @param {HTMLElement} avatar @param {string} id */
  paint(avatar, id) {
    const [{ segment }] = letters.segment(this.nameOf(id));
    avatar.textContent = segment.toUpperCase();
    avatar.dataset.hue = String(parseInt(id.slice(-6), 16) % HUES);
  }
}
