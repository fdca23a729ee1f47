import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { Chat } from './chat.entity.js';
import { ChatException } from './chat.exception.js';
import type { SendDto } from './dto/send.dto.js';

const LIST_MAX = 10_000;

@Injectable()
export class ChatService {
  constructor(@InjectRepository(Chat) private readonly chats: Repository<Chat>) {}

  /** Store a message; it is on disk when this resolves. */
  async send(sender: string, { receiver, message }: SendDto): Promise<Chat> {
    return this.chats.save({
      sender,
      receiver: receiver.toLowerCase(),
      message,
      createdAt: Date.now(),
      received: false,
    });
  }

  /** Mark a chat as received; throws a ChatException if the user has no such chat. */
  async markReceived(user: string, id: string): Promise<void> {
    const { affected } = await this.chats.update({ id, receiver: user }, { received: true });
    if (!affected) throw ChatException.notFound();
  }

  /** The oldest chats that a user has not yet marked received, oldest first. */
  async unreceived(user: string): Promise<Chat[]> {
    return this.chats.find({
      where: { receiver: user, received: false },
      order: { createdAt: 'ASC' },
      take: LIST_MAX,
    });
  }

  /** The newest chats sent to a user, by sender, oldest first. */
  async all(user: string): Promise<Record<string, Chat[]>> {
    const newest = await this.chats.find({
      where: { receiver: user },
      order: { createdAt: 'DESC' },
      take: LIST_MAX,
    });
    const bySender: Record<string, Chat[]> = {};
    for (const chat of newest.reverse()) (bySender[chat.sender] ??= []).push(chat);
    return bySender;
  }
}
