import { Batcher } from "./batcher.js";
import { Lists } from "./lists.js";

const BATCH_MAX = 1_000;

const INSERT = {
  name: "insert",
  text: `INSERT INTO chat (id, sender, receiver, message, created_at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[])`,
};
const MARK = {
  name: "mark",
  rowMode: "array",
  text: `UPDATE chat SET received = true
         FROM unnest($1::uuid[], $2::uuid[]) AS receipt (id, receiver)
         WHERE chat.id = receipt.id AND chat.receiver = receipt.receiver
         RETURNING chat.id`,
};

/** COMMIT=group: whatever waits is stored, or marked, by one statement. */
export class GroupStore extends Lists {
  #pool;
  #chats = new Batcher((chats) => this.#insert(chats), BATCH_MAX);
  #receipts = new Batcher((receipts) => this.#mark(receipts), BATCH_MAX);

  constructor(pool) {
    super(pool);
    this.#pool = pool;
  }

  /** Store a chat; it is on disk when this resolves. The order of calls is kept. */
  add(chat) {
    return this.#chats.submit(chat);
  }

  /** False if the user has no such chat. */
  markReceived(user, id) {
    return this.#receipts.submit({ id, user });
  }

  async #insert(chats) {
    const columns = ["id", "sender", "receiver", "message", "createdAt"];
    await this.#pool.query({ ...INSERT, values: columns.map((key) => chats.map((c) => c[key])) });
    return [];
  }

  async #mark(receipts) {
    const values = [receipts.map(({ id }) => id), receipts.map(({ user }) => user)];
    const { rows } = await this.#pool.query({ ...MARK, values });
    const marked = new Set(rows.flat());
    return receipts.map(({ id }) => marked.has(id));
  }
}
