import { Injectable } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { isUUID } from 'class-validator';
import type { Socket } from 'socket.io';
import { ChatException } from '../chat/chat.exception.js';

type Handshake = Socket['handshake'];

@Injectable()
export class AuthService {
  constructor(private readonly jwt: JwtService) {}

  /** The user whose token came with the handshake; throws a ChatException without a valid one. */
  userOf({ auth, headers }: Handshake): string {
    const token: unknown = auth.token ?? headers.authorization;
    if (typeof token !== 'string') throw ChatException.unauthorized('A token is needed');

    const user = this.verified(token.replace(/^Bearer\s+/i, ''));
    if (!isUUID(user)) throw ChatException.unauthorized("The token's user must be a UUID");
    return user.toLowerCase();
  }

  private verified(token: string): string {
    try {
      const { sub, id } = this.jwt.verify(token);
      return sub ?? id;
    } catch {
      throw ChatException.unauthorized('The token is not valid');
    }
  }
}
