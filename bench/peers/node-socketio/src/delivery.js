/** Brings stored chats to every connected device of their receivers, on whichever node. */

/** COMMIT=each: Socket.IO's own broadcast to a room, which publishes each chat to the other nodes. */
export function eachDelivery(io) {
  return (chat) => io.to(chat.receiver).emit("message", chat);
}

/**
 * COMMIT=group: devices of this node are told at once. The chats of one turn of the event loop, as
 * they come out of a commit, are published to the other nodes together, in order.
 */
export function groupDelivery(io) {
  let published = [];
  const tell = (chat) => io.local.to(chat.receiver).emit("message", chat);
  const publish = () => {
    io.serverSideEmit("chats", published);
    published = [];
  };

  io.on("chats", (chats) => chats.forEach(tell));
  return (chat) => {
    tell(chat);
    if (published.push(chat) === 1) setImmediate(publish);
  };
}
