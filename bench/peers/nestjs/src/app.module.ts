import { Module } from '@nestjs/common';
import { ConfigModule, ConfigService } from '@nestjs/config';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ChatModule } from './chat/chat.module.js';
import { readSettings, type Settings } from './settings.js';

@Module({
  imports: [
    ConfigModule.forRoot({ isGlobal: true, load: [() => readSettings(process.env)] }),
    TypeOrmModule.forRootAsync({
      inject: [ConfigService],
      useFactory: (config: ConfigService<Settings, true>) => ({
        ...config.get('database', { infer: true }),
        autoLoadEntities: true,
        synchronize: true,
        uuidExtension: 'pgcrypto', // whose gen_random_uuid() PostgreSQL has by itself
        installExtensions: false,
      }),
    }),
    ChatModule,
  ],
})
export class AppModule {}
