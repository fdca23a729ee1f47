import { IsUUID } from 'class-validator';

export class ReceiveDto {
  @IsUUID()
  chatId: string;
}
