import { IsNotEmpty, IsString, IsUUID, MaxLength, NotContains } from 'class-validator';

export class SendDto {
  @IsUUID()
  receiver: string;

  @IsString()
  @IsNotEmpty()
  @MaxLength(10_000)
  @NotContains('\0')
  message: string;
}
