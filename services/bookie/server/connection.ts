// One broker's connection. Hello first, then pipelined requests; replies of one turn go out together. Everything is bounded: the size of a
// frame before it is allocated, requests under way, bytes that wait to be sent. A peer that breaks the protocol, or stops in the middle of
// a frame, or does not read its replies, is closed.

import type { Socket } from 'node:net';
import type { BookieReply } from '#lib/ledger/protocol.ts';
import type { World } from '#lib/runtime/ports.ts';
import type { BookieId } from '#lib/types/brands.ts';
import {
  BOOKIE_VERSION_MAX,
  BOOKIE_VERSION_MIN,
  decodeRequest,
  encodeReply,
  FRAME_BYTES_MIN,
  HELLO_BYTES_MAX,
  REQUEST_BYTES_MAX,
} from '#lib/wire/bookie-frames.ts';
import type { ServerMessage, WelcomeStatus } from '#lib/wire/bookie-replies.ts';
import type { ClientMessage, HelloMessage } from '#lib/wire/bookie-requests.ts';
import { checkEntry } from '#lib/wire/entry.ts';
import { FrameParser } from '#lib/wire/frame-parser.ts';

export interface ConnectionLimits {
  /** How long a peer may take to say who it is, and to finish a frame or read a reply that it began. */
  readonly stallMs: number;
  /** How long a peer may be silent; brokers ping more often. */
  readonly idleMs: number;
  /** Requests of one connection that may be under way, in number and bytes; beyond it no more is read. */
  readonly requestsMax: number;
  readonly requestBytesMax: number;
  /** Bytes of replies that may wait for the peer to read; beyond it no more is read from it. */
  readonly replyBytesMax: number;
}

/** What a server needs of a bookie. */
export interface ServedBookie {
  readonly id: BookieId;
  readonly clusterId: string;
  answersTo(id: BookieId): boolean;
  isSpaceFull(): boolean;
  handle(request: Exclude<ClientMessage, { kind: 'hello' | 'ping' }>, onReply: (reply: BookieReply) => void): void;
}

type Phase = 'hello' | 'open' | 'closed';

export class Connection {
  readonly #world: World;
  readonly #bookie: ServedBookie;
  readonly #limits: ConnectionLimits;
  readonly #socket: Socket;
  readonly #onClosed: (connection: Connection) => void;
  readonly #parser: FrameParser;
  #phase: Phase = 'hello';
  #client = '';
  #requests = 0;
  #requestBytes = 0;
  #outbox: Buffer[] = [];
  #outboxBytes = 0;
  #isFlushScheduled = false;
  #isPaused = false;
  /** When the peer last sent something, last finished a frame, and last took something of what waits for it. */
  #heardAt: number;
  #frameAt: number;
  #takenAt: number;
  #bytesTaken = 0;

  constructor(world: World, bookie: ServedBookie, limits: ConnectionLimits, socket: Socket, onClosed: (connection: Connection) => void) {
    this.#world = world;
    this.#bookie = bookie;
    this.#limits = limits;
    this.#socket = socket;
    this.#onClosed = onClosed;
    this.#parser = new FrameParser(FRAME_BYTES_MIN, HELLO_BYTES_MAX, this.#onFrame);
    this.#heardAt = world.clock.monotonic();
    this.#frameAt = this.#heardAt;
    this.#takenAt = this.#heardAt;
    socket.setNoDelay(true);
    socket.on('data', this.#onData);
    socket.on('drain', this.#onDrain);
    socket.on('error', error => this.close(`the connection failed: ${error.message}`));
    socket.on('close', () => this.close('the peer closed'));
  }

  get isOpen(): boolean {
    return this.#phase === 'open';
  }
  /** Memory that this connection holds beside requests under way. */
  get heldBytes(): number {
    return this.#parser.heldBytes + this.#outboxBytes + this.#socket.writableLength;
  }

  /** Called every second or so: closes a peer that stalls. */
  tick(now: number): void {
    const { stallMs, idleMs } = this.#limits;
    if (this.#phase === 'hello' && now - this.#frameAt > stallMs) this.close('the peer did not say who it is');
    else if (this.#parser.isWithinFrame && !this.#isPaused && now - this.#frameAt > stallMs) this.close('the peer stopped within a frame');
    else if (now - this.#heardAt > idleMs && this.#requests === 0 && !this.#isPaused) this.close('the peer was silent');
    else if (this.#isStuck(now)) this.close('the peer does not read its replies');
  }

  close(reason: string): void {
    if (this.#phase === 'closed') return;
    const wasOpen = this.#phase === 'open';
    this.#phase = 'closed';
    this.#outbox = [];
    this.#outboxBytes = 0;
    // What was answered last still goes out, a refusal for instance.
    this.#socket.destroySoon();
    const fields = { reason, client: this.#client, address: this.#socket.remoteAddress };
    // Anybody can connect and say nothing; only what a broker does is worth a line.
    if (wasOpen) this.#world.logger.info('a connection of a broker is closed', fields);
    else this.#world.logger.debug('a connection is closed before it said who it is', fields);
    this.#onClosed(this);
  }

  readonly #onData = (view: Buffer): void => {
    if (this.#phase === 'closed') return;
    this.#heardAt = this.#world.clock.monotonic();
    if (!this.#parser.isWithinFrame) this.#frameAt = this.#heardAt;
    const problem = this.#parser.push(view);
    if (problem !== undefined) this.close(problem);
    else this.#throttle();
  };

  readonly #onFrame = (view: Buffer, isOwned: boolean): void => {
    if (this.#phase === 'closed') return;
    this.#frameAt = this.#world.clock.monotonic();
    const framed = decodeRequest(view);
    if (typeof framed === 'string') {
      this.close(framed);
      return;
    }
    const { requestId, message } = framed;
    if (this.#phase === 'hello') this.#onHello(requestId, message);
    else if (message.kind === 'hello') this.close('a second hello');
    else if (message.kind === 'ping') this.#send(requestId, { kind: 'pong', full: this.#bookie.isSpaceFull() });
    else
      this.#onRequest(
        requestId,
        view.length,
        message.kind === 'append' || message.kind === 'restore' ? kept(message, view, isOwned) : message,
      );
  };

  #onHello(requestId: number, message: ClientMessage): void {
    if (message.kind !== 'hello') {
      this.close('a request before the hello');
      return;
    }
    this.#client = message.client;
    const status = this.#welcome(message);
    const { id, clusterId } = this.#bookie;
    this.#send(requestId, { kind: 'welcome', status, version: BOOKIE_VERSION_MAX, clusterId, bookie: id });
    if (status === 'ok') {
      this.#phase = 'open';
      this.#parser.allow(REQUEST_BYTES_MAX);
      return;
    }
    this.#flush();
    this.#world.logger.warn('a broker is refused', { status, client: message.client, address: this.#socket.remoteAddress });
    this.close(`refused: ${status}`);
  }

  #welcome({ versionMin, versionMax, clusterId, bookie }: HelloMessage): WelcomeStatus {
    if (versionMin > BOOKIE_VERSION_MAX || versionMax < BOOKIE_VERSION_MIN) return 'version';
    if (clusterId !== this.#bookie.clusterId) return 'other_cluster';
    return bookie === null || this.#bookie.answersTo(bookie) ? 'ok' : 'other_bookie';
  }

  #onRequest(requestId: number, bytes: number, request: Exclude<ClientMessage, { kind: 'hello' | 'ping' }>): void {
    this.#requests++;
    this.#requestBytes += bytes;
    const onReply = (reply: BookieReply): void => {
      this.#requests--;
      this.#requestBytes -= bytes;
      if (this.#phase !== 'closed') this.#send(requestId, reply);
    };
    const isEntry = (request.kind === 'append' || request.kind === 'restore') && request.bytes.length > 0;
    const wrong = isEntry ? checkEntry(request.bytes) : undefined;
    if (wrong === undefined) this.#bookie.handle(request, onReply);
    else {
      this.#world.logger.warn('an entry arrived damaged', { what: wrong, client: this.#client });
      onReply({ kind: 'refused', reason: 'invalid', end: null });
    }
  }

  #send(requestId: number, message: ServerMessage): void {
    for (const view of encodeReply(requestId, message)) {
      this.#outbox.push(view);
      this.#outboxBytes += view.length;
    }
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    this.#world.clock.soon(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isFlushScheduled = false;
    if (this.#phase === 'closed') return;
    this.#flush();
    this.#throttle();
  };

  #flush(): void {
    const views = this.#outbox;
    this.#outbox = [];
    this.#outboxBytes = 0;
    if (this.#socket.writableLength === 0) this.#takenAt = this.#world.clock.monotonic();
    this.#socket.cork();
    for (const view of views) this.#socket.write(view);
    this.#socket.uncork();
  }

  readonly #onDrain = (): void => {
    this.#takenAt = this.#world.clock.monotonic();
    this.#throttle();
  };

  /** Reads on, or not: by what is under way and what waits to be sent. */
  #throttle(): void {
    const { requestsMax, requestBytesMax, replyBytesMax } = this.#limits;
    const isFull =
      this.#requests >= requestsMax ||
      this.#requestBytes >= requestBytesMax ||
      this.#outboxBytes + this.#socket.writableLength >= replyBytesMax;
    if (isFull === this.#isPaused || this.#phase === 'closed') return;
    this.#isPaused = isFull;
    if (isFull) this.#socket.pause();
    else {
      // Time in which nothing was read is not the peer's.
      this.#heardAt = this.#world.clock.monotonic();
      this.#frameAt = this.#heardAt;
      this.#socket.resume();
    }
  }

  #isStuck(now: number): boolean {
    const { bytesWritten, writableLength } = this.#socket;
    const taken = bytesWritten - writableLength;
    if (writableLength === 0 || taken !== this.#bytesTaken) this.#takenAt = now;
    this.#bytesTaken = taken;
    return now - this.#takenAt > this.#limits.stallMs;
  }
}

/** The same request with an entry that may be kept: a small one would hold the whole chunk that it came in. */
function kept<R extends { readonly bytes: Buffer }>(request: R, view: Buffer, isOwned: boolean): R {
  if (isOwned && request.bytes.length * 2 >= view.length) return request;
  const bytes = Buffer.allocUnsafeSlow(request.bytes.length);
  request.bytes.copy(bytes);
  return { ...request, bytes };
}
