import { randomUUID } from "node:crypto";
import { ChatError } from "./errors.js";
import { text, uuid } from "./requests.js";

/** The events that clients may send, on each socket that connects to `io`. */
export function serve(io, store, deliver) {
  io.on("connection", (socket) => {
    const { user } = socket.data;
    socket.join(user);

    const on = (event, rule) => {
      socket.on(event, (...args) => {
        const acknowledge = typeof args.at(-1) === "function" ? args.pop() : undefined;
        rule(args[0] ?? {}).then(acknowledge, (error) => tell(socket, error, acknowledge));
      });
    };

    on("ping", async () => {
      socket.emit("pong", "Hello World!");
    });

    on("send message", async ({ receiver, message }) => {
      const chat = {
        id: randomUUID(),
        sender: user,
        receiver: uuid(receiver, "receiver"),
        message: text(message),
        createdAt: Date.now(),
        received: false,
      };
      await store.add(chat);
      deliver(chat);
      return chat;
    });

    on("receive message", async ({ chatId }) => {
      const id = uuid(chatId, "chatId");
      if (!(await store.markReceived(user, id))) throw ChatError.notFound();
      return { chatId: id, received: true };
    });

    on("unreceived messages", async () => {
      socket.emit("unreceived messages", await store.unreceived(user));
    });

    on("all messages", async () => {
      socket.emit("all messages", bySender(await store.all(user)));
    });
  });
}

function bySender(chats) {
  const senders = {};
  for (const chat of chats) (senders[chat.sender] ??= []).push(chat);
  return senders;
}

/** Answer with an error. What a client can't help is logged instead of told. */
function tell(socket, error, acknowledge) {
  if (!(error instanceof ChatError)) {
    console.error(error);
    error = ChatError.internal();
  }
  const reply = { id: socket.data.user, code: error.code, message: error.message };
  socket.emit("error", reply);
  acknowledge?.({ error: reply });
}
