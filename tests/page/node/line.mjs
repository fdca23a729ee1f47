// A line to a server that can fail in the ways in which lines do.

import { connect, createServer } from "node:net";
import { once } from "node:events";

export class Line {
  #server;
  #pairs = new Set();
  #up = true;
  #deaf = false;

  /** @param {URL} target */
  constructor(target) {
    this.#server = createServer({ allowHalfOpen: false }, (client) => {
      if (!this.#up) return client.destroy();
      const server = connect(Number(target.port), target.hostname);
      const pair = [client, server];
      this.#pairs.add(pair);
      client.on("data", (bytes) => server.write(bytes));
      server.on("data", (bytes) => this.#deaf || client.write(bytes));
      for (const end of pair) {
        end.on("error", () => {});
        end.on("close", () => {
          if (this.#deaf && end === server) return; // the client doesn't learn that either
          this.#pairs.delete(pair);
          pair.forEach((other) => other.destroy());
        });
      }
    });
  }

  async open() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** Cuts all connections, and lets no new one through until `repair()`. */
  cut() {
    this.#up = false;
    for (const pair of this.#pairs) pair.forEach((end) => end.destroy());
  }

  /** What clients say passes; what the server says is lost, also that it closes. */
  deafen() {
    this.#deaf = true;
  }

  repair() {
    this.#up = true;
    this.#deaf = false;
  }

  close() {
    this.cut();
    this.#server.close();
  }
}
