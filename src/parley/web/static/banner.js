// The state of the connection, as people should know it.

import { $, show, write } from "./dom.js";

const LOST = "You’re offline. What you write is kept here and sent later.";

export class Banner {
  #parley;
  #tell;
  /** It was offline since it was connected; attempts in between are no news. */
  #lost = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticks;

  /**
   * @param {import("./parley.js").Parley} parley
   * @param {(state: string) => void} tell is told each new state, to have it read out
   */
  constructor(parley, tell) {
    this.#parley = parley;
    this.#tell = tell;
    $("retry").addEventListener("click", () => parley.connect());
  }

  render() {
    const { state } = this.#parley;
    const connected = state === "connected";
    this.#lost = state === "offline" || (this.#lost && !connected);
    $("chat").dataset.state = this.#lost ? "offline" : state;
    const name = connected ? "Connected" : this.#lost ? "Offline" : "Connecting…";
    if ($("my-state").textContent !== name) this.#tell(name);
    write($("my-state"), name);
    write($("banner-text"), this.#lost ? LOST : "Connecting…");
    show($("banner"), !connected);
    show($("retry"), this.#lost);
    $("retry").disabled = state !== "offline";
    clearInterval(this.#ticks);
    this.#tick();
    if (state === "offline") this.#ticks = setInterval(() => this.#tick(), 250);
  }

  #tick() {
    const seconds = Math.max(1, Math.ceil((this.#parley.retryAt - Date.now()) / 1000));
    const waits = this.#parley.state === "offline";
    const next = waits ? `Trying again in ${seconds} s.` : "Trying now…";
    write($("banner-countdown"), this.#lost ? next : "");
  }
}
