// Event streams with NestJS, ioredis and RxJS, as Nest's documentation shows them: an @Sse() handler that
// returns an Observable, here of a Subject per user. Decorators are called by hand, so that Node runs this
// file as it is.
import 'reflect-metadata';

import { Controller, Module, Param, Sse } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Redis } from 'ioredis';
import { Subject, finalize, interval, map, merge } from 'rxjs';

const PING_INTERVAL_MS = 15_000; // as sse-node

class Events {
  #subjects = new Map();
  #redis = new Redis(process.env.REDIS_URL.replace(/^unix:\/\//, ''));

  async onModuleInit() {
    this.#redis.on('message', (channel, message) => {
      const { userId, eventType, data } = JSON.parse(message);
      this.#subjects.get(userId)?.next({ data: { eventType, ...data } });
    });
    await this.#redis.subscribe('user-events');
  }

  of(userId) {
    let subject = this.#subjects.get(userId);
    if (!subject) this.#subjects.set(userId, (subject = new Subject()));
    return subject.pipe(
      finalize(() => {
        if (!subject.observed) this.#subjects.delete(userId);
      }),
    );
  }
}

class EventsController {
  constructor(events) {
    this.events = events;
  }

  stream(userId) {
    const pings = interval(PING_INTERVAL_MS).pipe(map(() => ({ type: 'ping', data: {} })));
    return merge(this.events.of(userId), pings);
  }
}

const stream = Object.getOwnPropertyDescriptor(EventsController.prototype, 'stream');
Sse(':userId')(EventsController.prototype, 'stream', stream);
Param('userId')(EventsController.prototype, 'stream', 0);
Controller('events/sse')(EventsController);
Reflect.defineMetadata('design:paramtypes', [Events], EventsController);

class App {}
Module({ controllers: [EventsController], providers: [Events] })(App);

const app = await NestFactory.create(App, { logger: ['error', 'warn'] });
await app.listen(0, '127.0.0.1');
console.log(`listening on http://127.0.0.1:${app.getHttpServer().address().port}`);
