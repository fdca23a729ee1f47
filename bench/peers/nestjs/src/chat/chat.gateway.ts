import { UseFilters, UsePipes, ValidationPipe } from '@nestjs/common';
import {
  MessageBody,
  type OnGatewayConnection,
  type OnGatewayInit,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
  type WsResponse,
} from '@nestjs/websockets';
import type { Server, Socket } from 'socket.io';
import { AuthService } from '../auth/auth.service.js';
import type { Chat } from './chat.entity.js';
import { ChatException } from './chat.exception.js';
import { ChatExceptionFilter } from './chat-exception.filter.js';
import { ChatService } from './chat.service.js';
import { ReceiveDto } from './dto/receive.dto.js';
import { SendDto } from './dto/send.dto.js';
import { User } from './user.decorator.js';

const validation = new ValidationPipe({
  exceptionFactory: (errors) =>
    ChatException.badRequest(errors.flatMap((e) => Object.values(e.constraints ?? {})).join(', ')),
});

/** The events that clients may send. What a handler returns is the acknowledgement. */
@WebSocketGateway({ cors: true })
@UseFilters(ChatExceptionFilter)
@UsePipes(validation)
export class ChatGateway implements OnGatewayInit<Server>, OnGatewayConnection<Socket> {
  @WebSocketServer()
  private readonly server: Server;

  constructor(
    private readonly auth: AuthService,
    private readonly chats: ChatService,
  ) {}

  /** Whoever has no valid token is refused before the connection counts as one. */
  afterInit(server: Server): void {
    server.use((socket, next) => {
      try {
        socket.data.user = this.auth.userOf(socket.handshake);
        next();
      } catch (error) {
        const { code, message } = error as ChatException;
        next(Object.assign(new Error(message), { data: { code } }));
      }
    });
  }

  async handleConnection(client: Socket): Promise<void> {
    await client.join(client.data.user);
  }

  @SubscribeMessage('ping')
  ping(): WsResponse<string> {
    return { event: 'pong', data: 'Hello World!' };
  }

  @SubscribeMessage('send message')
  async send(@User() user: string, @MessageBody() body: SendDto): Promise<Chat> {
    const chat = await this.chats.send(user, body);
    this.server.to(chat.receiver).emit('message', chat);
    return chat;
  }

  @SubscribeMessage('receive message')
  async receive(
    @User() user: string,
    @MessageBody() { chatId }: ReceiveDto,
  ): Promise<{ chatId: string; received: true }> {
    await this.chats.markReceived(user, chatId);
    return { chatId, received: true };
  }

  @SubscribeMessage('unreceived messages')
  async unreceived(@User() user: string): Promise<WsResponse<Chat[]>> {
    return { event: 'unreceived messages', data: await this.chats.unreceived(user) };
  }

  @SubscribeMessage('all messages')
  async all(@User() user: string): Promise<WsResponse<Record<string, Chat[]>>> {
    return { event: 'all messages', data: await this.chats.all(user) };
  }
}
