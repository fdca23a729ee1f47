import { Logger } from '@nestjs/common';
import { ConfigService } from '@nestjs/config';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { RedisIoAdapter } from './redis-io.adapter.js';
import type { Settings } from './settings.js';

const app = await NestFactory.create(AppModule, { logger: ['log', 'warn', 'error'] });
const config = app.get<ConfigService<Settings, true>>(ConfigService);
const port = config.get('port', { infer: true });

app.useWebSocketAdapter(new RedisIoAdapter(app, config.get('redis', { infer: true })));
app.enableShutdownHooks();
await app.listen(port, '127.0.0.1');
new Logger('main').log(`listening on port ${port}`);
