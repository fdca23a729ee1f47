import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { Socket } from 'socket.io';

/** The user whose socket sent the event. */
export const User = createParamDecorator(
  (_: unknown, context: ExecutionContext): string =>
    context.switchToWs().getClient<Socket>().data.user,
);
