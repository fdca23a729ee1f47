import { Lists } from "./lists.js";

const INSERT = {
  name: "insert",
  text: `INSERT INTO chat (id, sender, receiver, message, created_at) VALUES ($1, $2, $3, $4, $5)`,
};
const MARK = {
  name: "mark",
  text: "UPDATE chat SET received = true WHERE id = $1 AND receiver = $2",
};

/** COMMIT=each: a statement, and so a transaction, per message. */
export class EachStore extends Lists {
  #pool;

  constructor(pool) {
    super(pool);
    this.#pool = pool;
  }

  /** Store a chat; it is on disk when this resolves. */
  async add({ id, sender, receiver, message, createdAt }) {
    await this.#pool.query({ ...INSERT, values: [id, sender, receiver, message, createdAt] });
  }

  /** False if the user has no such chat. */
  async markReceived(user, id) {
    const { rowCount } = await this.#pool.query({ ...MARK, values: [id, user] });
    return rowCount > 0;
  }
}
