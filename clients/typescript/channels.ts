// gRPC channels by address, with the limits and windows that streams of batches need, and unary calls that are repeated while a server
// cannot be reached. Which of the given servers is asked is decided here: the present one until it fails, then the next.

import { type ChannelOptions, Client, credentials, Metadata, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { failureOfStatus } from '#lib/rpc/status.ts';
import { type ErrorCode, type Failure, isFailure, SluiceError } from '#lib/types/errors.ts';
import { MIB } from '#lib/types/limits.ts';
import { Backoff } from './core/backoff.ts';
import type { ClientWorld } from './world.ts';

/** Largest response that we take: a full batch (8 MiB) with the columns of its index. */
export const RESPONSE_BYTES_TAKEN = 12 * MIB;

const CHANNEL: ChannelOptions = {
  'grpc.max_receive_message_length': RESPONSE_BYTES_TAKEN + MIB,
  'grpc.max_send_message_length': -1,
  // Opened wide at once: a consumer's memory is bounded by its credit, not by the window.
  'grpc-node.flow_control_window': 4 * MIB,
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 250,
  // Two clients in one process have a connection each.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
};

/** Worth asking again, this server or the next. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'not_owner', 'overloaded', 'storage_unavailable']);
const RETRY_FIRST_MS = 20;
export const RETRY_LONGEST_MS = 500;

export interface UnaryMethod<Request, Response> {
  readonly path: string;
  readonly serialize: (request: Request) => Buffer;
  readonly deserialize: (bytes: Buffer) => Response;
}

export class Channels {
  readonly world: ClientWorld;
  readonly #servers: readonly string[];
  readonly #requestTimeoutMs: number;
  readonly #clients = new Map<string, Client>();
  #turn = 0;
  #closed = false;

  constructor(world: ClientWorld, servers: readonly string[], requestTimeoutMs: number) {
    this.world = world;
    this.#servers = servers;
    this.#requestTimeoutMs = requestTimeoutMs;
  }

  get requestTimeoutMs(): number {
    return this.#requestTimeoutMs;
  }

  /** The server to ask now. */
  get home(): string {
    return this.#servers[this.#turn % this.#servers.length] ?? '';
  }

  /** `address` did not answer: if it is the present one, the next one is. */
  onUnreachable(address: string): void {
    if (address === this.home) this.#turn += 1;
  }

  of(address: string): Client {
    let client = this.#clients.get(address);
    if (!client) {
      client = new Client(address, credentials.createInsecure(), CHANNEL);
      this.#clients.set(address, client);
    }
    return client;
  }

  /** Throws `SluiceError`. Only for calls that may be repeated: reads, and changes that carry an operation id. */
  async call<Request, Response>(method: UnaryMethod<Request, Response>, request: Request): Promise<Response> {
    const deadlineMs = this.world.now() + this.#requestTimeoutMs;
    const backoff = new Backoff(RETRY_FIRST_MS, RETRY_LONGEST_MS);
    let inDoubt = false;
    for (;;) {
      const address = this.home;
      const result = await this.#once(address, method, request, deadlineMs - this.world.now());
      if (!isFailure(result)) return result;
      inDoubt ||= result.stored === 'unknown';
      const waitMs = Math.max(backoff.next(this.world.random()), result.retryAfterMs);
      if (this.#closed || !PASSING.has(result.code) || this.world.now() + waitMs >= deadlineMs)
        throw new SluiceError({ ...result, message: this.explain(result, address), stored: inDoubt ? 'unknown' : 'no' });
      if (result.code === 'unavailable' || result.code === 'not_owner') this.onUnreachable(address);
      await new Promise<void>(resolve => this.world.after(waitMs, resolve));
    }
  }

  /** Says which server could not be reached, in words that help. */
  explain(failure: Failure, address: string): string {
    const refused = /ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ETIMEDOUT|No connection established/.exec(failure.message);
    if (failure.code !== 'unavailable' || !refused) return failure.message;
    return `no server can be reached at ${this.#servers.includes(address) ? this.#servers.join(', ') : address} (${refused[0]})`;
  }

  close(): void {
    this.#closed = true;
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  #once<Request, Response>(address: string, method: UnaryMethod<Request, Response>, request: Request, timeoutMs: number) {
    return new Promise<Response | Failure>(resolve => {
      this.of(address).makeUnaryRequest(
        method.path,
        method.serialize,
        method.deserialize,
        request,
        new Metadata(),
        { deadline: this.world.deadline(Math.max(1, timeoutMs)) },
        (error: ServiceError | null, response?: Response) => {
          if (!error && response !== undefined) resolve(response);
          else resolve(failureOfCall(error));
        },
      );
    });
  }
}

/** A call's end as a failure. What never found a connection was certainly not done. */
export function failureOfCall(error: Pick<ServiceError, 'code' | 'details' | 'metadata'> | null): Failure {
  const failure = error && failureOfStatus(error);
  if (!failure)
    return { kind: 'failure', code: 'unavailable', message: 'the server ended the call', stored: 'unknown', detail: {}, retryAfterMs: 0 };
  if (failure.code === 'unavailable' && /No connection established|ECONNREFUSED|ENOTFOUND/.test(failure.message))
    return { ...failure, stored: 'no' };
  return failure;
}

interface EndingCall {
  on(event: 'status', listener: (status: StatusObject) => void): unknown;
  on(event: 'end' | 'close' | 'error', listener: () => void): unknown;
}

/** Calls `run` once, when a stream is over and all that it brought has been handed out: gRPC tells the status before that. */
export function afterEnd(call: EndingCall, run: (status: StatusObject) => void): void {
  let status: StatusObject | null = null;
  let isDrained = false;
  let isTold = false;
  const check = (): void => {
    if (!status || !isDrained || isTold) return;
    isTold = true;
    run(status);
  };
  const onDrained = (): void => {
    isDrained = true;
    check();
  };
  call.on('status', received => {
    status = received;
    check();
  });
  call.on('end', onDrained);
  call.on('close', onDrained);
  call.on('error', () => undefined); // The status says the same.
}
