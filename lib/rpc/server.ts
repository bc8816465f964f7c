// The gRPC server's shell. It owns the listening socket, and guarantees bounds before anything is parsed: connections are counted, one
// that sends nothing costs a bare socket until its time is up, a peer that vanished is noticed by pings within 10 s, HTTP/2 windows are
// open within one budget, messages have a largest size. Health and reflection are there from the start.

import http2 from 'node:http2';
import net from 'node:net';
import {
  type ConnectionInjector,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import type { Clock, Logger, Timer } from '#lib/runtime/ports.ts';
import { KIB, MIB } from '#lib/types/limits.ts';
import { Windows } from './core/windows.ts';
import { createReadGates, type ReadGates } from './read-gate.ts';

export interface RpcServerConfig {
  /** HOST:PORT; port 0 takes a free one. */
  readonly listen: string;
  /** Connections beyond it are closed at once. */
  readonly connectionsMax: number;
  /** A connection that has sent nothing for so long is closed. */
  readonly firstByteTimeoutMs: number;
  /** Streams of one connection at a time. */
  readonly streamsPerConnectionMax: number;
  readonly messageBytesMax: number;
  /** Both together: the time in which a vanished peer is noticed. */
  readonly keepaliveTimeMs: number;
  readonly keepaliveTimeoutMs: number;
  readonly windowOpeningBytes: number;
  readonly windowMaxBytes: number;
  readonly windowBudgetBytes: number;
}

export const RPC_DEFAULTS: Omit<RpcServerConfig, 'listen'> = {
  connectionsMax: 12_000,
  firstByteTimeoutMs: 20_000,
  streamsPerConnectionMax: 1_000,
  // A full batch (8 MiB) with the columns of its index.
  messageBytesMax: 12 * MIB,
  keepaliveTimeMs: 3_000,
  keepaliveTimeoutMs: 4_000,
  windowOpeningBytes: 64 * KIB,
  windowMaxBytes: 4 * MIB,
  windowBudgetBytes: 128 * MIB,
};

export interface RpcService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

export interface RpcServerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** What reflection shows. */
  readonly contract: PackageDefinition;
  /** Built with the server's gates, by which streaming handlers stop reading. */
  services(gates: ReadGates): readonly RpcService[];
}

export interface RpcServerCounts {
  /** Open now; of these, how many have not sent a byte. */
  readonly connections: number;
  readonly silentConnections: number;
  readonly refusedConnections: number;
  readonly windowBytes: number;
}

export interface RpcServer {
  /** The real address: with the port that was taken for 0. */
  readonly address: string;
  readonly port: number;
  counts(): RpcServerCounts;
  /** What health checks answer; `close` sets it to false. */
  setServing(serving: boolean): void;
  /** No new calls; those that run get `graceMs` to end. */
  close(graceMs: number): Promise<void>;
}

/** `listen` cannot be taken: in use, not ours, not an address. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

const TICK_MS = 100;
const IDLE_TICKS = 100;

export async function createRpcServer(config: RpcServerConfig, deps: RpcServerDeps): Promise<RpcServer> {
  const gates = createReadGates();
  const grpc = new Server({
    'grpc.max_receive_message_length': config.messageBytesMax,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': config.streamsPerConnectionMax,
    'grpc.keepalive_time_ms': config.keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': config.keepaliveTimeoutMs,
    'grpc.enable_channelz': 0,
    interceptors: [gates.interceptor],
  });
  const health = new HealthImplementation({ '': 'SERVING' });
  health.addToServer(grpc);
  new ReflectionService(deps.contract).addToServer(grpc);
  for (const service of deps.services(gates)) grpc.addService(service.definition, service.implementation);

  const sessions = new Sessions(config, deps.clock);
  const injector = injectorWithWindows(grpc, config.windowOpeningBytes, session => sessions.add(session));
  const door = new Door(config, deps, injector);
  const { address, port } = await door.open();
  return {
    address,
    port,
    counts: () => ({ ...door.counts(), windowBytes: sessions.windowBytes }),
    setServing: serving => health.setStatus('', serving ? 'SERVING' : 'NOT_SERVING'),
    close: async graceMs => {
      health.setStatus('', 'NOT_SERVING');
      door.close();
      await new Promise<void>(resolve => {
        const timer = deps.clock.after(graceMs, () => {
          grpc.forceShutdown();
          resolve();
        });
        grpc.tryShutdown(() => {
          timer.cancel();
          resolve();
        });
      });
      sessions.close();
      door.destroyAll();
    },
  };
}

/** grpc-js has no option for a server's windows: its call of `createServer` is intercepted for the moment in which it builds one. */
function injectorWithWindows(
  grpc: Server,
  openingBytes: number,
  onSession: (session: http2.ServerHttp2Session) => void,
): ConnectionInjector {
  const original = http2.createServer;
  const wrapped = (options: http2.ServerOptions, ...rest: []) => {
    const server = original({ ...options, settings: { ...options.settings, initialWindowSize: openingBytes } }, ...rest);
    server.on('session', onSession);
    return server;
  };
  Reflect.set(http2, 'createServer', wrapped);
  try {
    return grpc.createConnectionInjector(ServerCredentials.createInsecure());
  } finally {
    Reflect.set(http2, 'createServer', original);
  }
}

/** The listening socket: hands a connection to HTTP/2 once it has sent its first byte. */
class Door {
  readonly #config: RpcServerConfig;
  readonly #deps: RpcServerDeps;
  readonly #injector: ConnectionInjector;
  readonly #listener: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #silent = 0;
  #refused = 0;

  constructor(config: RpcServerConfig, deps: RpcServerDeps, injector: ConnectionInjector) {
    this.#config = config;
    this.#deps = deps;
    this.#injector = injector;
    this.#listener = net.createServer({ noDelay: true, highWaterMark: 16 * KIB }, socket => this.#onConnection(socket));
  }

  counts(): Omit<RpcServerCounts, 'windowBytes'> {
    return { connections: this.#sockets.size, silentConnections: this.#silent, refusedConnections: this.#refused };
  }

  open(): Promise<{ address: string; port: number }> {
    const { host, port } = splitAddress(this.#config.listen);
    return new Promise((resolve, reject) => {
      this.#listener.once('error', error => reject(new ListenError(listenProblem(this.#config.listen, error), { cause: error })));
      this.#listener.listen({ host, port, backlog: 1024 }, () => {
        const bound = this.#listener.address();
        if (bound === null || typeof bound === 'string') throw new ListenError(`${this.#config.listen} is no TCP address`);
        this.#listener.removeAllListeners('error');
        this.#listener.on('error', error => this.#deps.logger.error('accepting a connection failed', { error: String(error) }));
        const shown = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
        resolve({ address: `${shown}:${bound.port}`, port: bound.port });
      });
    });
  }

  #onConnection(socket: net.Socket): void {
    if (this.#sockets.size >= this.#config.connectionsMax) {
      this.#refused += 1;
      if (this.#refused % 1000 === 1)
        this.#deps.logger.warn('connection refused: the limit is reached', { limit: this.#config.connectionsMax, refused: this.#refused });
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    this.#silent += 1;
    let silent = true;
    const timer = this.#deps.clock.after(this.#config.firstByteTimeoutMs, () => socket.destroy());
    const heard = () => {
      if (!silent) return;
      silent = false;
      this.#silent -= 1;
      timer.cancel();
    };
    const onEarlyEnd = () => socket.destroy();
    socket.on('error', onEarlyEnd);
    socket.once('end', onEarlyEnd);
    socket.once('close', () => {
      heard();
      this.#sockets.delete(socket);
    });
    socket.once('readable', () => {
      heard();
      if (socket.destroyed || socket.readableLength === 0) return;
      socket.off('end', onEarlyEnd);
      this.#injector.injectConnection(socket);
    });
  }

  close(): void {
    this.#listener.close();
    for (const socket of this.#sockets) if (socket.readableLength === 0 && socket.bytesRead === 0) socket.destroy();
  }

  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Applies what the windows' core says, ten times a second while a connection has streams. */
class Sessions {
  readonly #clock: Clock;
  readonly #windows: Windows<http2.ServerHttp2Session>;
  readonly #openingBytes: number;
  /** Those with open streams or a grown window, with their streams' number. */
  readonly #active = new Map<http2.ServerHttp2Session, { streams: number }>();
  #timer: Timer | null = null;
  #closed = false;

  constructor(config: RpcServerConfig, clock: Clock) {
    this.#clock = clock;
    this.#openingBytes = config.windowOpeningBytes;
    this.#windows = new Windows({
      openingBytes: config.windowOpeningBytes,
      maxBytes: config.windowMaxBytes,
      budgetBytes: config.windowBudgetBytes,
      idleTicks: IDLE_TICKS,
    });
  }

  get windowBytes(): number {
    return this.#windows.chargedBytes;
  }

  add(session: http2.ServerHttp2Session): void {
    this.#windows.add(session);
    const state = { streams: 0 };
    session.on('stream', stream => {
      state.streams += 1;
      this.#active.set(session, state);
      this.#arm();
      stream.once('close', () => {
        state.streams -= 1;
      });
    });
    session.once('close', () => {
      this.#windows.remove(session);
      this.#active.delete(session);
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(): void {
    if (this.#timer || this.#closed || this.#active.size === 0) return;
    this.#timer = this.#clock.after(TICK_MS, () => {
      this.#timer = null;
      this.#tick();
      this.#arm();
    });
  }

  #tick(): void {
    const samples: (readonly [http2.ServerHttp2Session, { receivedBytes: number; streams: number }])[] = [];
    for (const [session, { streams }] of this.#active)
      samples.push([session, { receivedBytes: session.destroyed ? 0 : session.socket.bytesRead, streams }]);
    for (const { key, windowBytes } of this.#windows.tick(samples)) {
      if (key.destroyed || key.closed) continue;
      try {
        key.settings({ initialWindowSize: windowBytes });
        key.setLocalWindowSize(Math.max(windowBytes, 2 ** 16 - 1));
      } catch {
        // Node refuses more settings than it will wait for: this peer acknowledges none, and is no HTTP/2 peer.
        key.destroy();
      }
    }
    for (const [session, { streams }] of this.#active)
      if (streams === 0 && this.#windows.windowBytes(session) === this.#openingBytes) this.#active.delete(session);
  }
}

/** Reads HOST:PORT; the host may be empty (all addresses) or [IPv6]. */
export function splitAddress(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) throw new ListenError(`${JSON.stringify(text)} is not HOST:PORT`);
  const host = match[1] ?? match[2] ?? '';
  return { host: host === '' ? '::' : host, port };
}

function listenProblem(address: string, error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `${address} is in use by another process; choose another port, or port 0 for a free one`;
    case 'EACCES':
      return `this user may not listen on ${address}`;
    case 'EADDRNOTAVAIL':
      return `${address} is not an address of this machine`;
    default:
      return `cannot listen on ${address}: ${error.message}`;
  }
}
