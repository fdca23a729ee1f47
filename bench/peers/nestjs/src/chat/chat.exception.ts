import { WsException } from '@nestjs/websockets';

/** What a client is told when something went wrong: a code for programs, a message for people. */
export class ChatException extends WsException {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  static badRequest(message: string): ChatException {
    return new ChatException('bad_request', message);
  }

  static unauthorized(message: string): ChatException {
    return new ChatException('unauthorized', message);
  }

  /** For chats that don't exist and for those of others: the two must not be told apart. */
  static notFound(): ChatException {
    return new ChatException('not_found', 'There is no such chat among those sent to you');
  }

  static internal(): ChatException {
    return new ChatException('internal', 'The server failed to do this');
  }
}
