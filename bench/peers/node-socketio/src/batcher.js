/**
 * Group commit: whatever is submitted while a batch is under way makes up the next one.
 *
 * Batches run in the order in which their items were submitted, one after the other.
 */
export class Batcher {
  #run;
  #max;
  #waiting = [];
  #running = false;

  /** `run(items)` resolves to one result per item; if it rejects, each item of the batch does. */
  constructor(run, max) {
    this.#run = run;
    this.#max = max;
  }

  /** Resolves to the item's result. */
  submit(item) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (!this.#running) {
        this.#running = true;
        setImmediate(() => this.#work()); // what other sockets have just received comes along
      }
    });
  }

  async #work() {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, this.#max);
      try {
        const results = await this.#run(batch.map(({ item }) => item));
        batch.forEach(({ resolve }, i) => resolve(results[i]));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#running = false;
  }
}
