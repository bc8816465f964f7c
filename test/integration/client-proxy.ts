// A TCP proxy in front of a server, for tests of what a client does when its connection is cut, stands still, or is refused.
import { createServer, connect as dial, type Server, type Socket } from 'node:net';

export class TcpProxy {
  #target: { readonly host: string; readonly port: number };
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #refusing = false;
  /** Connections that were let through. */
  connections = 0;

  private constructor(target: string) {
    this.#target = parse(target);
    this.#server = createServer(socket => this.#accept(socket));
  }

  static start(target: string): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    return new Promise(resolve => proxy.#server.listen(0, '127.0.0.1', () => resolve(proxy)));
  }

  get address(): string {
    const bound = this.#server.address();
    return `127.0.0.1:${typeof bound === 'object' && bound ? bound.port : 0}`;
  }

  /** New connections go to another server. */
  pointTo(target: string): void {
    this.#target = parse(target);
  }

  /** Resets all connections; what is in them is lost. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
  }

  /** The server is away: connections are cut, new ones end at once. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing;
    if (refusing) this.cut();
  }

  /** Answers do not come through any more, requests do. */
  holdAnswers(): void {
    for (const [, server] of this.#pairs) server.pause();
  }

  close(): void {
    this.refuse(true);
    this.#server.close();
  }

  #accept(socket: Socket): void {
    if (this.#refusing) {
      socket.destroy();
      return;
    }
    this.connections += 1;
    const server = dial(this.#target);
    const pair = [socket, server] as const;
    this.#pairs.add(pair);
    socket.pipe(server);
    server.pipe(socket);
    for (const end of pair) {
      end.on('error', () => undefined);
      end.on('close', () => {
        this.#pairs.delete(pair);
        for (const other of pair) other.destroy();
      });
    }
  }
}

function parse(target: string): { host: string; port: number } {
  const colon = target.lastIndexOf(':');
  return { host: target.slice(0, colon), port: Number(target.slice(colon + 1)) };
}
