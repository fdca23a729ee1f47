import { type ArgumentsHost, Catch, type ExceptionFilter, Logger } from '@nestjs/common';
import type { Socket } from 'socket.io';
import { ChatException } from './chat.exception.js';

type Acknowledge = (answer: unknown) => void;

/** Answers with an `error` event, and the acknowledgement if one was asked for. */
@Catch()
export class ChatExceptionFilter implements ExceptionFilter {
  private readonly log = new Logger(ChatExceptionFilter.name);

  catch(exception: unknown, host: ArgumentsHost): void {
    if (!(exception instanceof ChatException)) this.log.error(exception);
    const told = exception instanceof ChatException ? exception : ChatException.internal();

    const [client, , acknowledge] = host.getArgs<[Socket, unknown, Acknowledge | undefined]>();
    const reply = { id: client.data.user, code: told.code, message: told.message };
    client.emit('error', reply);
    acknowledge?.({ error: reply });
  }
}
