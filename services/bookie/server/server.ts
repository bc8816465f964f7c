// A bookie's TCP server. Connections are bounded in number; one timer looks after all of them.

import { createServer, type Server } from 'node:net';
import type { Timer, World } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import { Connection, type ConnectionLimits, type ServedBookie } from './connection.ts';

const TICK_MS = 1000;

export interface BookieServerOptions extends ConnectionLimits {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  /** Beyond it a new connection is closed at once. */
  readonly connectionsMax: number;
}

export const SERVER_DEFAULTS: Omit<BookieServerOptions, 'host' | 'port'> = {
  connectionsMax: 2048,
  stallMs: 10_000,
  idleMs: 60_000,
  requestsMax: 4096,
  requestBytesMax: 32 * 1024 * 1024,
  replyBytesMax: 8 * 1024 * 1024,
};

export class BookieServer {
  readonly #world: World;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  #timer: Timer | undefined;
  #isClosed = false;

  private constructor(world: World, bookie: ServedBookie, options: BookieServerOptions) {
    this.#world = world;
    this.#server = createServer({ noDelay: true }, socket => {
      if (this.#connections.size >= options.connectionsMax || this.#isClosed) socket.destroy();
      else this.#connections.add(new Connection(world, bookie, options, socket, connection => this.#connections.delete(connection)));
    });
  }

  /** Resolves when it listens; rejects as `listen` does, for instance when the port is taken. */
  static async start(world: World, bookie: ServedBookie, options: BookieServerOptions): Promise<BookieServer> {
    const server = new BookieServer(world, bookie, options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      server.#server.listen(options.port, options.host, () => {
        server.#server.off('error', reject);
        resolve();
      });
    });
    server.#server.on('error', error => world.logger.error('the bookie does not accept connections', { error }));
    server.#tick();
    return server;
  }

  get port(): number {
    const address = this.#server.address();
    assert(address !== null && typeof address === 'object', 'a server that listens has a port');
    return address.port;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Memory that connections hold beside requests under way. */
  get heldBytes(): number {
    let sum = 0;
    for (const connection of this.#connections) sum += connection.heldBytes;
    return sum;
  }

  /** Accepts no more, and closes all connections: what was not answered is unknown to its sender. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()));
    for (const connection of this.#connections) connection.close('the bookie stops');
    await closed;
  }

  #tick(): void {
    const now = this.#world.clock.monotonic();
    for (const connection of this.#connections) connection.tick(now);
    if (!this.#isClosed) this.#timer = this.#world.clock.after(TICK_MS, () => this.#tick());
  }
}
