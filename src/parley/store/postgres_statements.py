"""Every statement that the PostgreSQL store uses on chats, inbox and heads.

Each must cost by what it is asked for, whatever the tables hold and whatever
the server believes they hold.  Hence the shapes:

- Rows are looked up with LATERAL and OFFSET 0, which allow nothing but a nested
  loop with an index, or with INSERT ... ON CONFLICT, which uses the index by
  definition.  A join with a large table might become a scan of it.
- Each condition names the owner, so that partitions can be told apart.
- Lists of ids and numbers go in as one text with commas: that takes the server
  no longer than an array, and the driver a tenth of the time.  But the statements
  of commits, which don't go through the driver, take ids as arrays.
- What statements lock they lock in one order, first heads, by owner, and then
  chats, by receiver and id: nodes may wait for one another but never in a circle.
"""

from __future__ import annotations

from typing import Final

PING: Final = "SELECT 1"

HEADS: Final = """
SELECT asked.place, head.seq
FROM unnest(string_to_array($1, ',')::uuid[]) WITH ORDINALITY AS asked (owner, place)
CROSS JOIN LATERAL (SELECT seq FROM heads WHERE heads.owner = asked.owner OFFSET 0) AS head"""

POSITION: Final = "SELECT seq FROM chats WHERE receiver = $1 AND id = $2"

OLDEST: Final = """
SELECT entry.seq, entry.kind, chat.*
FROM (
  SELECT seq, kind, chat_id FROM inbox
  WHERE owner = $1 AND seq > $2 AND seq < $3
  ORDER BY seq LIMIT $4
) AS entry
CROSS JOIN LATERAL (
  SELECT id::text, sender::text, message, created_at, received FROM chats
  WHERE receiver = $1 AND id = entry.chat_id
  OFFSET 0
) AS chat
ORDER BY entry.seq"""
NEWEST: Final = OLDEST.replace("seq LIMIT", "seq DESC LIMIT") + " DESC"

UNRECEIVED: Final = """
SELECT seq, 1, id::text, sender::text, message, created_at, received
FROM chats
WHERE receiver = $1 AND NOT received AND seq > $2 AND seq < $3
ORDER BY seq LIMIT $4"""

DELIVERED: Final = """
SELECT asked.place
FROM unnest(string_to_array($3, ',')::uuid[]) WITH ORDINALITY AS asked (id, place)
CROSS JOIN LATERAL (
  SELECT sender, received FROM chats WHERE receiver = $2 AND chats.id = asked.id OFFSET 0
) AS chat
WHERE chat.sender = $1 AND chat.received"""

EXISTING: Final = """
SELECT asked.place, chat.*
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (receiver, id, place)
CROSS JOIN LATERAL (
  SELECT sender::text, message, created_at, received FROM chats
  WHERE chats.receiver = asked.receiver AND chats.id = asked.id
  OFFSET 0
) AS chat"""

# $1, $2: owners, sorted, and how many chats each gets; the others: one element for each chat.
_STORE: Final = """
moved AS (
  INSERT INTO heads (owner, seq)
  SELECT owner, count
  FROM unnest($1::uuid[], string_to_array($2, ',')::bigint[]) AS new (owner, count)
  ON CONFLICT (owner) DO UPDATE SET seq = heads.seq + excluded.seq
  RETURNING owner, seq
), stored AS (
  INSERT INTO chats (receiver, id, sender, seq, message, created_at, received)
  SELECT receiver, id, sender, moved.seq - back, message, created_at, received
  FROM unnest(
    $3::uuid[], $4::uuid[], $5::uuid[], string_to_array($6, ',')::bigint[],
    $7::text[], string_to_array($8, ',')::bigint[], string_to_array($9, ',')::boolean[]
  ) AS new (receiver, id, sender, back, message, created_at, received)
  JOIN moved ON moved.owner = new.receiver
  RETURNING receiver, seq, id
), entered AS (
  INSERT INTO inbox (owner, seq, kind, chat_id)
  SELECT receiver, seq, 1, id FROM stored
)"""
_HEADS: Final = "(SELECT string_agg(seq::text, ',' ORDER BY owner) FROM moved)"

# {0}, {1}: receivers and ids, sorted by both. Only the chats that exist are inserted once more,
# so that each of them is a conflict.
_MARK: Final = """
known AS (
  SELECT asked.place, chat.*
  FROM unnest({0}::uuid[], {1}::uuid[]) WITH ORDINALITY AS asked (receiver, id, place)
  CROSS JOIN LATERAL (
    SELECT * FROM chats
    WHERE chats.receiver = asked.receiver AND chats.id = asked.id
    OFFSET 0
  ) AS chat
), marked AS (
  INSERT INTO chats (receiver, id, sender, seq, message, created_at, received)
  SELECT receiver, id, sender, seq, message, created_at, true FROM known
  WHERE NOT received{2}
  ON CONFLICT (receiver, id) DO UPDATE SET received = true WHERE NOT chats.received
  RETURNING receiver, id, sender
)"""
_OUTCOME: Final = """
(SELECT string_agg(sender::text, ',' ORDER BY receiver, id) FROM marked),
(SELECT string_agg(concat_ws(',', receiver, id), ',' ORDER BY receiver, id) FROM marked
  HAVING count(*) < cardinality({0}::uuid[])),
(SELECT string_agg(place::text, ',') FROM known
  HAVING count(*) > (SELECT count(*) FROM marked))"""
# Always true, and known only when all heads are locked.
_AFTER_HEADS: Final = " AND (SELECT count(*) FROM moved) > 0"

# One row: the owners' new heads, by owner; of the chats that are marked now, for the first time,
# each sender, by receiver and id; their receivers and ids, in that order, unless they are all that
# were asked for; and the places, from 1, of all the chats that exist, if these are more than those.
# One text each, or NULL: a row costs us more than anything that the server does for it.
STORE: Final = f"WITH{_STORE}\nSELECT {_HEADS}"
MARK: Final = f"WITH{_MARK.format('$1', '$2', '')}\nSELECT NULL,{_OUTCOME.format('$1')}"
STORE_AND_MARK: Final = (
    f"WITH{_STORE},{_MARK.format('$10', '$11', _AFTER_HEADS)}\n"
    f"SELECT {_HEADS},{_OUTCOME.format('$10')}"
)
