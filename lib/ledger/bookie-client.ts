// The way to bookies over TCP. One connection a bookie, made when it is first needed and again after it broke; requests are pipelined, and
// those of one turn go out together. A request whose connection breaks is answered `unreachable`: what became of it is not known.

import type { Socket } from 'node:net';
import type { Clock, Logger, Timer } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import type { BookieId } from '#lib/types/brands.ts';
import {
  BOOKIE_VERSION_MAX,
  BOOKIE_VERSION_MIN,
  decodeReply,
  encodeRequest,
  FRAME_BYTES_MIN,
  HELLO_BYTES_MAX,
  REPLY_BYTES_MAX,
} from '#lib/wire/bookie-frames.ts';
import type { ServerMessage } from '#lib/wire/bookie-replies.ts';
import type { ClientMessage } from '#lib/wire/bookie-requests.ts';
import { FrameParser } from '#lib/wire/frame-parser.ts';
import type { BookieReply, BookieRequest, BookieTransport } from './protocol.ts';

export interface BookieClientOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly clusterId: string;
  /** What the bookie's log calls us. */
  readonly name: string;
  /** The bookies that are registered now. */
  readonly registered: () => readonly BookieId[];
  /** Opens a connection; undefined when there is no address. It may be returned before it is connected. */
  readonly dial: (bookie: BookieId) => Socket | undefined;
  /** Requests and bytes that may wait for one bookie; beyond it they are answered `busy`. */
  readonly requestsMax: number;
  readonly bytesMax: number;
  /** A bookie that answers nothing for so long while something waits is given up, and called again. */
  readonly silenceMs: number;
}

export const CLIENT_DEFAULTS = { requestsMax: 16_384, bytesMax: 64 * 1024 * 1024, silenceMs: 10_000 } as const;

type OnReply = (reply: BookieReply) => void;

const UNREACHABLE: BookieReply = { kind: 'unreachable' };
const BUSY: BookieReply = { kind: 'busy', reason: 'queue' };
const REDIAL_MS_MIN = 50;
const REDIAL_MS_MAX = 5000;

export interface BookieClient extends BookieTransport {
  close(): void;
}

export function bookieClient(options: BookieClientOptions): BookieClient {
  const peers = new Map<BookieId, Peer>();
  const peerOf = (id: BookieId): Peer => {
    let peer = peers.get(id);
    if (!peer) {
      peer = new Peer(options, id);
      peers.set(id, peer);
    }
    return peer;
  };
  return {
    send: (to, request, onReply) => peerOf(to).send(request, onReply),
    bookies: () => options.registered().map(id => ({ id, alive: peerOf(id).isAlive, full: peerOf(id).isFull })),
    close: () => {
      for (const peer of peers.values()) peer.close();
    },
  };
}

interface Pending {
  readonly onReply: OnReply;
  readonly bytes: number;
}

class Peer {
  readonly #options: BookieClientOptions;
  readonly #id: BookieId;
  readonly #pending = new Map<number, Pending>();
  #socket: Socket | null = null;
  #parser: FrameParser | null = null;
  #isWelcome = false;
  #isClosed = false;
  #nextId = 1;
  #pendingBytes = 0;
  #outbox: Buffer[] = [];
  #isFlushScheduled = false;
  #redialMs = REDIAL_MS_MIN;
  #redialAt = 0;
  #timer: Timer | undefined;
  #heardAt = 0;
  /** Not known to be away: so it is until a call fails. */
  isAlive = true;
  isFull = false;

  constructor(options: BookieClientOptions, id: BookieId) {
    this.#options = options;
    this.#id = id;
  }

  send(request: BookieRequest, onReply: OnReply): void {
    const { clock, requestsMax, bytesMax } = this.#options;
    if (this.#pending.size >= requestsMax || this.#pendingBytes >= bytesMax) {
      clock.soon(() => onReply(BUSY));
      return;
    }
    if (!this.#connect()) {
      clock.soon(() => onReply(UNREACHABLE));
      return;
    }
    const bytes = request.kind === 'append' || request.kind === 'restore' ? request.bytes.length : 0;
    this.#pendingBytes += bytes;
    this.#write(request, { onReply, bytes });
  }

  close(): void {
    this.#isClosed = true;
    this.#break('the client closes');
  }

  /** False when the bookie cannot be called now. */
  #connect(): boolean {
    if (this.#socket) return true;
    const { clock, dial, clusterId, name } = this.#options;
    if (this.#isClosed || clock.monotonic() < this.#redialAt) return false;
    const socket = dial(this.#id);
    if (!socket) return false;
    this.#socket = socket;
    this.#parser = new FrameParser(FRAME_BYTES_MIN, HELLO_BYTES_MAX, this.#onFrame);
    this.#heardAt = clock.monotonic();
    socket.setNoDelay(true);
    socket.on('data', (view: Buffer) => this.#onData(socket, view));
    socket.on('error', error => this.#onBroken(socket, error.message));
    socket.on('close', () => this.#onBroken(socket, 'the bookie closed the connection'));
    this.#write(
      { kind: 'hello', versionMin: BOOKIE_VERSION_MIN, versionMax: BOOKIE_VERSION_MAX, clusterId, bookie: this.#id, client: name },
      null,
    );
    this.#watch();
    return true;
  }

  #write(message: ClientMessage, pending: Pending | null): void {
    const requestId = this.#nextId;
    this.#nextId = (this.#nextId + 1) >>> 0;
    if (pending) this.#pending.set(requestId, pending);
    for (const view of encodeRequest(requestId, message)) this.#outbox.push(view);
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    this.#options.clock.soon(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#isFlushScheduled = false;
    const socket = this.#socket;
    const views = this.#outbox;
    this.#outbox = [];
    if (!socket) return;
    socket.cork();
    for (const view of views) socket.write(view);
    socket.uncork();
  };

  #onData(socket: Socket, view: Buffer): void {
    if (socket !== this.#socket) return;
    this.#heardAt = this.#options.clock.monotonic();
    const problem = this.#parser?.push(view);
    if (problem !== undefined) this.#break(problem);
  }

  readonly #onFrame = (view: Buffer, isOwned: boolean): void => {
    const framed = decodeReply(view);
    if (typeof framed === 'string') this.#break(framed);
    else if (framed.message.kind === 'welcome') this.#onWelcome(framed.message);
    else if (!this.#isWelcome) this.#break('a reply before the welcome');
    else this.#onMessage(framed.requestId, framed.message, isOwned);
  };

  #onWelcome(message: Extract<ServerMessage, { kind: 'welcome' }>): void {
    if (message.status !== 'ok') {
      this.#break(`the bookie refuses: ${message.status}`);
      return;
    }
    this.#isWelcome = true;
    this.#parser?.allow(REPLY_BYTES_MAX);
    this.#redialMs = REDIAL_MS_MIN;
    this.isAlive = true;
  }

  #onMessage(requestId: number, message: Exclude<ServerMessage, { kind: 'welcome' }>, isOwned: boolean): void {
    if (message.kind === 'pong') {
      this.isFull = message.full;
      return;
    }
    const pending = this.#pending.get(requestId);
    if (!pending) {
      this.#break(`a reply to request ${requestId}, which nobody made`);
      return;
    }
    this.#pending.delete(requestId);
    this.#pendingBytes -= pending.bytes;
    if (message.kind === 'busy' && message.reason === 'space') this.isFull = true;
    // Entries may be kept by whoever asked: a lent view is not.
    pending.onReply(
      message.kind === 'entries' && !isOwned ? { ...message, entries: message.entries.map(entry => Buffer.from(entry)) } : message,
    );
  }

  #onBroken(socket: Socket, reason: string): void {
    if (socket === this.#socket) this.#break(reason);
  }

  /** Ends the connection; all that waits is answered, later. */
  #break(reason: string): void {
    const socket = this.#socket;
    if (!socket) return;
    const { clock, logger } = this.#options;
    this.#socket = null;
    this.#parser = null;
    this.#isWelcome = false;
    this.isAlive = false;
    this.#outbox = [];
    this.#timer?.cancel();
    socket.destroy();
    this.#redialAt = clock.monotonic() + this.#redialMs;
    this.#redialMs = Math.min(this.#redialMs * 2, REDIAL_MS_MAX);
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    this.#pendingBytes = 0;
    logger.warn('a bookie is not reachable', { bookie: this.#id, reason, waiting: waiting.length });
    clock.soon(() => {
      for (const { onReply } of waiting) onReply(UNREACHABLE);
    });
    if (!this.#isClosed) this.#timer = clock.after(this.#redialMs, () => void this.#connect());
  }

  /** Asks for a sign of life, and gives up a bookie that sends none. */
  #watch(): void {
    const { clock, silenceMs } = this.#options;
    assert(silenceMs > 0, 'some silence is allowed');
    this.#timer = clock.after(silenceMs / 3, () => {
      if (!this.#socket) return;
      if (clock.monotonic() - this.#heardAt > silenceMs) {
        this.#break('the bookie is silent');
        return;
      }
      this.#write({ kind: 'ping' }, null);
      this.#watch();
    });
  }
}
