/** What a client is told when something went wrong. */
export class ChatError extends Error {
  /** `code` is for programs, `message` for people. */
  constructor(code, message) {
    super(message);
    this.code = code;
  }

  static badRequest(message) {
    return new ChatError("bad_request", message);
  }

  static unauthorized(message) {
    return new ChatError("unauthorized", message);
  }

  /** For chats that don't exist and for those of others: the two must not be told apart. */
  static notFound() {
    return new ChatError("not_found", "There is no such chat among those sent to you");
  }

  static internal() {
    return new ChatError("internal", "The server failed to do this");
  }
}
