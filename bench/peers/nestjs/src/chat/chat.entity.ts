import { Column, Entity, Index, PrimaryGeneratedColumn } from 'typeorm';

@Entity()
@Index(['receiver', 'createdAt'])
export class Chat {
  @PrimaryGeneratedColumn('uuid')
  id: string;

  @Column('uuid')
  sender: string;

  @Column('uuid')
  receiver: string;

  @Column('text')
  message: string;

  /** Milliseconds since the Unix epoch. The driver reads a bigint as a string. */
  @Column('bigint', { transformer: { to: (value: number) => value, from: Number } })
  createdAt: number;

  @Column('boolean', { default: false })
  received: boolean;
}
