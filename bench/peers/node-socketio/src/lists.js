/** The two lists of chats; they cost the same however messages are stored. */

const LIST_MAX = 10_000;
const COLUMNS = 'id, sender, receiver, message, created_at AS "createdAt", received';

const UNRECEIVED = {
  name: "unreceived",
  text: `SELECT ${COLUMNS} FROM chat WHERE receiver = $1 AND NOT received
         ORDER BY created_at LIMIT ${LIST_MAX}`,
};
const NEWEST = {
  name: "newest",
  text: `SELECT ${COLUMNS} FROM chat WHERE receiver = $1
         ORDER BY created_at DESC LIMIT ${LIST_MAX}`,
};

export class Lists {
  #pool;

  constructor(pool) {
    this.#pool = pool;
  }

  /** The oldest chats that a user has not yet marked received, oldest first. */
  async unreceived(user) {
    const { rows } = await this.#pool.query({ ...UNRECEIVED, values: [user] });
    return rows;
  }

  /** The newest chats sent to a user, oldest first. */
  async all(user) {
    const { rows } = await this.#pool.query({ ...NEWEST, values: [user] });
    return rows.reverse();
  }
}
