// One stream of one kind (`Publish` or `Subscribe`) that is there as long as somebody needs it: opens it, opens it again with backoff when
// it is lost, on the next server if need be, and says how much of what was written has not yet left. What travels on it is the handler's.

import { type ClientDuplexStream, Metadata, type StatusObject } from '@grpc/grpc-js';
import { type Failure, fail } from '#lib/types/errors.ts';
import { afterEnd, type Channels, failureOfCall, RETRY_LONGEST_MS } from './channels.ts';
import { Backoff } from './core/backoff.ts';
import type { ClientTimer, ClientWorld } from './world.ts';

export interface LinkHandler {
  /** A new stream: the first frame may be written now, within the call. */
  onStart(): void;
  /** `message` belongs to the handler. A failure returned means that the peer broke the contract: the stream is given up. */
  onMessage(message: Buffer): Failure | undefined;
  /** The stream is over, and another one comes if it is still needed. */
  onLost(failure: Failure): void;
  /** Writing is possible again after `isFull`. */
  onRoom(): void;
  /** Whether anybody needs the stream. */
  isNeeded(): boolean;
}

type Call = ClientDuplexStream<Buffer, Buffer>;

const BACKOFF_FIRST_MS = 20;
/** More is not handed to gRPC before some of it has left. */
const UNWRITTEN_BYTES_MAX = 4 * 1024 * 1024;
/** How long a stream that is closed in good order may take. */
const CLOSE_MS = 2_000;

const same = (bytes: Buffer): Buffer => bytes;

export class Link {
  readonly #channels: Channels;
  readonly #world: ClientWorld;
  readonly #path: string;
  /** null: wherever the client is at home. */
  readonly #address: string | null;
  readonly #handler: LinkHandler;
  readonly #backoff = new Backoff(BACKOFF_FIRST_MS, RETRY_LONGEST_MS);
  #call: Call | null = null;
  #established = false;
  #timer: ClientTimer | null = null;
  #unwritten = 0;
  #wasFull = false;
  #closed = false;
  #onEnded: (() => void) | null = null;

  constructor(channels: Channels, method: 'Publish' | 'Subscribe', address: string | null, handler: LinkHandler) {
    this.#channels = channels;
    this.#world = channels.world;
    this.#path = `/sluice.v1.Messaging/${method}`;
    this.#address = address;
    this.#handler = handler;
  }

  /** There is a stream, which need not have been answered yet. */
  get isUp(): boolean {
    return this.#call !== null;
  }

  get isFull(): boolean {
    const full = this.#unwritten >= UNWRITTEN_BYTES_MAX;
    if (full) this.#wasFull = true;
    return full;
  }

  /** Opens the stream unless it is there or on its way. */
  start(): void {
    if (this.#closed || this.#call || this.#timer) return;
    this.#open();
  }

  write(bytes: Buffer): void {
    const call = this.#call;
    if (!call) return;
    this.#unwritten += bytes.length;
    call.write(bytes, () => {
      if (this.#call !== call) return;
      this.#unwritten -= bytes.length;
      if (!this.#wasFull || this.isFull) return;
      this.#wasFull = false;
      this.#handler.onRoom();
    });
  }

  /** Ends the stream after what was written; resolves when the server has ended it too, or does not in time. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
    const call = this.#call;
    if (!call) return;
    await new Promise<void>(resolve => {
      const timer = this.#world.after(CLOSE_MS, resolve);
      this.#onEnded = () => {
        timer.cancel();
        resolve();
      };
      call.end();
    });
    call.cancel();
  }

  #open(): void {
    const address = this.#address ?? this.#channels.home;
    const call = this.#channels.of(address).makeBidiStreamRequest(this.#path, same, same, new Metadata());
    this.#call = call;
    this.#established = false;
    this.#unwritten = 0;
    this.#wasFull = false;
    call.on('data', (message: Buffer) => this.#onData(call, message));
    afterEnd(call, status => this.#onStatus(call, address, status));
    this.#handler.onStart();
  }

  #onData(call: Call, message: Buffer): void {
    if (this.#call !== call) return;
    if (!this.#established) {
      this.#established = true;
      this.#backoff.reset();
    }
    const broken = this.#handler.onMessage(message);
    if (!broken || this.#call !== call) return;
    this.#call = null;
    call.cancel();
    this.#lost({ ...broken, code: 'unavailable', message: `the server sent what cannot be read: ${broken.message}`, stored: 'unknown' });
  }

  #onStatus(call: Call, address: string, status: StatusObject): void {
    if (this.#call !== call) return;
    this.#call = null;
    this.#onEnded?.();
    if (this.#closed) return;
    const failure = failureOfCall(status);
    if (!this.#established) this.#channels.onUnreachable(address);
    this.#lost({ ...failure, message: this.#channels.explain(failure, address) });
  }

  #lost(failure: Failure): void {
    this.#handler.onLost(failure);
    if (this.#closed || !this.#handler.isNeeded()) return;
    const waitMs = Math.max(this.#backoff.next(this.#world.random()), failure.retryAfterMs);
    this.#timer = this.#world.after(waitMs, () => {
      this.#timer = null;
      if (!this.#closed && this.#handler.isNeeded()) this.#open();
    });
  }
}

/** What somebody is told whose stream is gone because the client was closed. */
export const clientClosed = (): Failure => fail('cancelled', 'the client is closed');
