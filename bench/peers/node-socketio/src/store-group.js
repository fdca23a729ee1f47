import { Batcher } from "./batcher.js";
import { Lists } from "./lists.js";

const BATCH_MAX = 1_000;

// $1, $2: receivers and how many chats each gets; the others: one element for each chat.
const STORE = {
  name: "store",
  rowMode: "array",
  text: `WITH moved AS (
           INSERT INTO heads (owner, seq)
           SELECT * FROM unnest($1::uuid[], $2::bigint[])
           ON CONFLICT (owner) DO UPDATE SET seq = heads.seq + excluded.seq
           RETURNING owner, seq
         ), stored AS (
           INSERT INTO chat (id, sender, receiver, message, created_at, seq)
           SELECT id, sender, receiver, message, created_at, moved.seq - back
           FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::bigint[])
             AS new (id, sender, receiver, message, created_at, back)
           JOIN moved ON moved.owner = receiver
           RETURNING receiver, chat.seq, id
         ), entered AS (
           INSERT INTO inbox (owner, seq, kind, chat_id) SELECT receiver, seq, 1, id FROM stored
         )
         SELECT owner, seq FROM moved`,
};
const MARK = {
  name: "mark",
  rowMode: "array",
  text: `UPDATE chat SET received = true
         FROM unnest($1::uuid[], $2::uuid[]) AS receipt (id, receiver)
         WHERE chat.id = receipt.id AND chat.receiver = receipt.receiver
         RETURNING chat.id`,
};

/** COMMIT=group: whatever waits is stored, or marked, by one statement, which fills inboxes too. */
export class GroupStore extends Lists {
  #pool;
  #chats = new Batcher((chats) => this.#insert(chats), BATCH_MAX);
  #receipts = new Batcher((receipts) => this.#mark(receipts), BATCH_MAX);

  constructor(pool) {
    super(pool);
    this.#pool = pool;
  }

  /** Store a chat; resolves to its place in the receiver's inbox. The order of calls is kept. */
  add(chat) {
    return this.#chats.submit(chat);
  }

  /** False if the user has no such chat. */
  markReceived(user, id) {
    return this.#receipts.submit({ id, user });
  }

  async #insert(chats) {
    const moves = new Map(); // how far each receiver's head moves
    const backs = new Array(chats.length); // how far each chat is behind the head
    for (let i = chats.length - 1; i >= 0; i--) {
      const { receiver } = chats[i];
      backs[i] = moves.get(receiver) ?? 0;
      moves.set(receiver, backs[i] + 1);
    }
    const owners = [...moves.keys()].sort(); // locked in one order by all nodes
    const columns = ["id", "sender", "receiver", "message", "createdAt"];
    const values = [
      owners,
      owners.map((owner) => moves.get(owner)),
      ...columns.map((key) => chats.map((chat) => chat[key])),
      backs,
    ];
    const { rows } = await this.#pool.query({ ...STORE, values });
    const heads = new Map(rows);
    return chats.map(({ receiver }, i) => Number(heads.get(receiver)) - backs[i]);
  }

  async #mark(receipts) {
    const values = [receipts.map(({ id }) => id), receipts.map(({ user }) => user)];
    const { rows } = await this.#pool.query({ ...MARK, values });
    const marked = new Set(rows.flat());
    return receipts.map(({ id }) => marked.has(id));
  }
}
