// Delivery of one exclusive subscription to its one consumer: entries in the order of the log, from the cursor on, without control entries
// and without what is acknowledged, as long as there is credit and the stream takes them. A new session begins at markDelete, so what the
// one before it held unacknowledged comes again.

import { assert } from '#lib/types/assert.ts';
import type { Offset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { entryBaseOffset, entryCount, entryCumulativeCount, entryEnd, entryPayload } from '#lib/wire/entry.ts';
import type { PositionFrame } from '#lib/wire/frames.ts';
import { entryIn } from '../cache/read-ahead.ts';
import type { ConsumerIdentity, ConsumerSession, ConsumerSink } from '../partition/api.ts';
import type { Cursor } from '../partition/core/cursor.ts';

/** One turn of the loop hands over so much at most; other partitions' work comes between. */
const TURN_ENTRIES_MAX = 512;
const TURN_BYTES_MAX = 8 * 1024 * 1024;
/** A client that gives credit without end cannot overflow the sum. */
const CREDIT_MAX = 2 ** 50;

type Spans = readonly (readonly [number, number])[];
type AcknowledgeReply = ((result: { kind: 'acknowledged' } | Failure) => void) | null;
type SeekReply = (result: { kind: 'sought'; resetEpoch: Offset; markDelete: Offset } | Failure) => void;

/** What a session needs of its partition and subscription. */
export interface DispatchHost {
  /** Everything below it may be delivered. */
  readonly ackedEnd: Offset;
  readonly cursor: Cursor;
  readonly resetEpoch: Offset;
  readonly markDelete: Offset;
  readonly endOffset: Offset;
  readonly backlog: number;
  /** Ranges above markDelete at which delivery pauses until some are acknowledged. */
  readonly holesMax: number;
  /** False while the entry that created or sought the cursor is not acknowledged. */
  readonly resetDurable: boolean;
  /** The entry that covers `offset`, if a cache has it. */
  cached(offset: number): Buffer | undefined;
  /** Brings it into a cache, and the entries that were read with it in hand; resolves to why not. */
  load(offset: number): Promise<readonly Buffer[] | Failure>;
  /** An entry's header says how many messages lie below it. */
  learn(offset: number, count: number): void;
  soon(run: () => void): void;
  acknowledge(session: ExclusiveSession, resetEpoch: number, upTo: number, spans: Spans, reply: AcknowledgeReply): void;
  seek(session: ExclusiveSession, to: PositionFrame, resetEpoch: number, reply: SeekReply): void;
  detached(session: ExclusiveSession): void;
}

export class ExclusiveSession implements ConsumerSession {
  readonly consumer: ConsumerIdentity;
  readonly attachedMs: number;
  readonly #host: DispatchHost;
  readonly #sink: ConsumerSink;
  #position: number;
  #creditMessages = 0;
  #creditBytes = 0;
  /** A load or another turn is under way, which goes on by itself. */
  #busy = false;
  #over = false;
  /** What was loaded last, until it is delivered or delivery stops: no other reader can push it out of this hand. */
  #inHand: readonly Buffer[] = [];

  constructor(host: DispatchHost, sink: ConsumerSink, consumer: ConsumerIdentity, attachedMs: number) {
    this.#host = host;
    this.#sink = sink;
    this.consumer = consumer;
    this.attachedMs = attachedMs;
    this.#position = host.markDelete;
  }

  get resetEpoch(): Offset {
    return this.#host.resetEpoch;
  }

  get markDelete(): Offset {
    return this.#host.markDelete;
  }

  get endOffset(): Offset {
    return this.#host.endOffset;
  }

  get backlog(): number {
    return this.#host.backlog;
  }

  /** Where delivery goes on. */
  get position(): number {
    return this.#position;
  }

  addCredit(messages: number, bytes: number): void {
    if (messages > 0) this.#creditMessages = Math.min(CREDIT_MAX, this.#creditMessages + messages);
    if (bytes > 0) this.#creditBytes = Math.min(CREDIT_MAX, this.#creditBytes + bytes);
    this.wake();
  }

  resume(): void {
    this.wake();
  }

  acknowledge(resetEpoch: number, upTo: number, spans: Spans, reply: AcknowledgeReply): void {
    if (this.#over) {
      if (reply !== null) this.#host.soon(() => reply(sessionOver()));
      return;
    }
    this.#host.acknowledge(this, resetEpoch, upTo, spans, reply);
  }

  seek(to: PositionFrame, resetEpoch: number, reply: SeekReply): void {
    if (this.#over) {
      this.#host.soon(() => reply(sessionOver()));
      return;
    }
    this.#host.seek(this, to, resetEpoch, reply);
  }

  detach(): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.detached(this);
  }

  /** The session ends from this side: replaced, deleted, moved. */
  end(reason: Failure): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.detached(this);
    this.#host.soon(() => this.#sink.detached(reason));
  }

  /** The cursor has another life: delivery goes on from its new place. */
  restart(): void {
    this.#position = this.#host.markDelete;
    this.wake();
  }

  /** There may be something to deliver. Never delivers within the call. */
  wake(): void {
    if (this.#busy || this.#over || !this.#mayDeliver()) return;
    this.#busy = true;
    this.#host.soon(this.#turn);
  }

  #mayDeliver(): boolean {
    const host = this.#host;
    if (this.#creditMessages <= 0 || this.#creditBytes <= 0 || this.#position >= host.ackedEnd) return false;
    if (!host.resetDurable || this.#sink.isFull()) return false;
    const { ranges } = host.cursor;
    return ranges.count < host.holesMax || this.#position < ranges.end;
  }

  readonly #turn = (): void => {
    this.#busy = false;
    this.#deliverSome();
    // Another turn, or a load, is under way; else nothing is kept for a consumer that takes nothing.
    if (!this.#busy) this.#inHand = [];
  };

  #deliverSome(): void {
    let bytes = 0;
    for (let entries = 0; entries < TURN_ENTRIES_MAX && bytes < TURN_BYTES_MAX; entries++) {
      if (this.#over || !this.#mayDeliver()) return;
      this.#position = Math.max(this.#position, this.#host.markDelete);
      if (this.#position >= this.#host.ackedEnd) return;
      const entry = this.#host.cached(this.#position) ?? entryIn(this.#inHand, this.#position);
      if (entry === undefined) {
        this.#load();
        return;
      }
      bytes += this.#deliver(entry);
    }
    this.wake();
  }

  /** Hands over what is open of one entry; returns the bytes. */
  #deliver(entry: Buffer): number {
    const base = entryBaseOffset(entry);
    const count = entryCount(entry);
    const end = entryEnd(entry);
    assert(base <= this.#position && end > this.#position, 'the entry covers the position');
    this.#host.learn(base, entryCumulativeCount(entry));
    this.#position = end;
    if (count === 0) {
      this.#host.learn(end, entryCumulativeCount(entry));
      return 0;
    }
    const open = this.#host.cursor.open(base, end);
    if (open === undefined) return 0;
    let messages = open.length === 0 ? count : 0;
    for (const range of open) messages += range[1];
    this.#creditMessages -= messages;
    // What the client can count as well: it gives back the bytes of the batches that it has taken.
    this.#creditBytes -= entryPayload(entry).length;
    this.#sink.deliver(entry, open, this.#host.resetEpoch, 1);
    return entry.length;
  }

  #load(): void {
    this.#busy = true;
    const at = this.#position;
    this.#host.load(at).then(loaded => {
      this.#busy = false;
      if (this.#over) return;
      // Trimmed meanwhile: the cursor has moved up, and delivery goes on from there.
      if (isFailure(loaded) && this.#host.markDelete <= at) {
        this.end(loaded);
        return;
      }
      this.#inHand = isFailure(loaded) ? [] : loaded;
      this.wake();
    });
  }
}

function sessionOver(): Failure {
  return fail('cancelled', 'this consumer is no longer attached');
}
