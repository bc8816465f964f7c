// One partition of one consumer: attaches, again after a loss with the same name and instance and the next epoch, waits while another
// consumer holds the subscription, keeps the books of credit and acknowledgements, and carries receipts and seeks over a reconnect.

import { ERRORS, type Failure, fail, SluiceError } from '#lib/types/errors.ts';
import type { AttachConsumerFrame, AttachedFrame, DeliveryFrame, MovedFrame, PositionFrame } from '#lib/wire/frames.ts';
import { RESPONSE_BYTES_TAKEN, RETRY_LONGEST_MS } from './channels.ts';
import { AckBook } from './core/ack-book.ts';
import { Backoff } from './core/backoff.ts';
import type { CreditBook } from './core/credit-book.ts';
import { ReceivedBatch } from './received.ts';
import type { Outgoing, Receiver, SubscribeStream } from './subscribe-stream.ts';
import type { Attachment } from './types.ts';
import type { ClientTimer, ClientWorld } from './world.ts';

export interface ReceiverIdentity {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly subscription: string;
  readonly consumer: string;
  readonly instance: string;
  readonly start: PositionFrame;
  readonly mustExist: boolean;
}

export interface ReceiverHost {
  readonly requestTimeoutMs: number;
  stream(address: string | null): SubscribeStream;
  onAttached(receiver: PartitionReceiver): void;
  onBatch(receiver: PartitionReceiver, batch: ReceivedBatch): void;
  /** Batches of it that were not handed out are void: they come again, or the cursor has been sought. */
  onVoid(receiver: PartitionReceiver): void;
  /** Another consumer holds the subscription; true: wait. */
  onBusy(receiver: PartitionReceiver, failure: Failure): boolean;
  onFatal(receiver: PartitionReceiver, failure: Failure): void;
}

interface Receipt {
  readonly resetEpoch: number;
  readonly upTo: number;
  readonly spans: readonly (readonly [number, number])[];
  readonly done: (failure: Failure | null) => void;
  /** On the present attach. */
  sent: boolean;
}

interface PendingSeek {
  readonly to: PositionFrame;
  readonly done: (failure: Failure | null) => void;
  sent: boolean;
}

const SPANS_MAX = 10_000;
const ATTACH_FIRST_MS = 20;

export class PartitionReceiver implements Receiver {
  readonly identity: ReceiverIdentity;
  readonly #host: ReceiverHost;
  readonly #world: ClientWorld;
  readonly #acks = new AckBook();
  readonly #credit: CreditBook;
  readonly #backoff = new Backoff(ATTACH_FIRST_MS, RETRY_LONGEST_MS);
  readonly #receipts = new Map<number, Receipt>();
  readonly #seeks = new Map<number, PendingSeek>();
  #address: string | null;
  #stream: SubscribeStream | null = null;
  #timer: ClientTimer | null = null;
  #epoch = 0;
  #nextRequest = 1;
  /** A subscription that was there once is not made again when it is gone. */
  #mustExist: boolean;
  #over = false;
  isAttached = false;
  /** Another consumer holds the subscription. */
  isWaiting = false;
  lastProblem = '';
  attachment: Attachment;

  constructor(identity: ReceiverIdentity, address: string | null, credit: CreditBook, host: ReceiverHost, world: ClientWorld) {
    this.identity = identity;
    this.#address = address;
    this.#credit = credit;
    this.#host = host;
    this.#world = world;
    this.#mustExist = identity.mustExist;
    const { topic, partition } = identity;
    this.attachment = { topic, partition, markDelete: 0, endOffset: 0, backlog: 0 };
  }

  get resetEpoch(): number {
    return this.#acks.resetEpoch;
  }

  start(): void {
    if (this.#stream || this.#over) return;
    this.#stream = this.#host.stream(this.#address);
    this.#stream.attach(this);
  }

  /** The application has taken a batch. */
  onTaken(messages: number, bytes: number): void {
    this.#credit.onTaken(messages, bytes);
    if (this.#credit.isDue) this.#markDirty();
  }

  acknowledge(resetEpoch: number, first: number, end: number): void {
    if (this.#acks.add(resetEpoch, first, end)) this.#markDirty();
  }

  acknowledgeUpTo(resetEpoch: number, offset: number): void {
    if (this.#acks.addUpTo(resetEpoch, offset)) this.#markDirty();
  }

  /** Resolves when the acknowledgement is durable. */
  acknowledgeDurably(resetEpoch: number, upTo: number, spans: readonly (readonly [number, number])[]): Promise<void> {
    if (resetEpoch !== this.resetEpoch) return Promise.reject(new SluiceError(soughtSince()));
    this.#acks.remember(resetEpoch, upTo, spans);
    return this.#request('acknowledgement', this.#receipts, done => ({ resetEpoch, upTo, spans, done, sent: false }));
  }

  seek(to: PositionFrame): Promise<void> {
    return this.#request('seek', this.#seeks, done => ({ to, done, sent: false }));
  }

  /** Leaves; resolves when the server has heard it, or cannot. */
  stop(failure: Failure): Promise<void> {
    if (this.#over) return Promise.resolve();
    this.#timer?.cancel();
    const stream = this.#stream;
    const gone = stream ? new Promise<void>(resolve => stream.remove(this, resolve)) : Promise.resolve();
    this.#over = true;
    this.isAttached = false;
    for (const receipt of this.#receipts.values()) receipt.done({ ...failure, stored: receipt.sent ? 'unknown' : 'no' });
    for (const seek of this.#seeks.values()) seek.done({ ...failure, stored: seek.sent ? 'unknown' : 'no' });
    return gone;
  }

  // ---- the stream ----

  attachFrame(handle: number): AttachConsumerFrame {
    const { topic, topicId, partition, subscription, consumer, instance, start } = this.identity;
    this.#epoch += 1;
    return {
      handle,
      topic,
      partition,
      subscription,
      type: 1,
      consumer,
      instance,
      epoch: this.#epoch,
      start,
      mustExist: this.#mustExist,
      topicId,
      responseBytesMax: RESPONSE_BYTES_TAKEN,
      codecs: [],
    };
  }

  onAttached(frame: AttachedFrame): void {
    if (this.#over) return;
    const { topic, partition } = this.identity;
    const { markDelete, endOffset, backlog } = frame;
    this.#backoff.reset();
    this.isAttached = true;
    this.isWaiting = false;
    this.#mustExist = true;
    this.attachment = { topic, partition, markDelete, endOffset, backlog };
    this.#acks.onAttached(frame.resetEpoch, markDelete);
    this.#host.onVoid(this);
    this.#credit.onAttached();
    this.#refuseOldReceipts();
    this.#host.onAttached(this);
    this.#markDirty();
  }

  onDelivery(frame: DeliveryFrame): void {
    if (this.#over) return;
    if (frame.resetEpoch > this.resetEpoch) this.#onReset(frame.resetEpoch);
    const { topic, partition } = this.identity;
    const batch = ReceivedBatch.of(topic, partition, frame);
    if (!(batch instanceof ReceivedBatch)) {
      this.#fail(batch);
      return;
    }
    if (frame.resetEpoch < this.resetEpoch) this.onTaken(batch.count, batch.bytes.length);
    else this.#host.onBatch(this, batch);
  }

  onAcknowledged(requestId: number, error: Failure | null): void {
    const receipt = this.#receipts.get(requestId);
    if (!receipt) return;
    this.#receipts.delete(requestId);
    receipt.done(error);
  }

  onSought(requestId: number, result: { readonly resetEpoch: number; readonly markDelete: number } | Failure): void {
    const seek = this.#seeks.get(requestId);
    if (!('kind' in result) && result.resetEpoch > this.resetEpoch) this.#onReset(result.resetEpoch);
    if (!seek) return;
    this.#seeks.delete(requestId);
    seek.done('kind' in result ? result : null);
  }

  onDetached(failure: Failure | null, moved: MovedFrame | null): void {
    if (this.#over) return;
    this.#onGone();
    if (moved && moved.address !== '') {
      this.#moveTo(moved.address);
      return;
    }
    if (failure?.code === 'subscription_busy') {
      if (!this.#host.onBusy(this, failure)) {
        this.#fail(failure);
        return;
      }
      this.isWaiting = true;
      this.#again(failure);
      return;
    }
    if (failure && isFatal(failure)) {
      this.#fail(failure);
      return;
    }
    this.#again(failure);
  }

  onLost(failure: Failure): void {
    if (this.#over) return;
    this.lastProblem = failure.message;
    this.#onGone();
    if (isFatal(failure)) this.#fail(failure);
    else if (this.#address !== null) this.#moveTo(null);
  }

  takeOutgoing(): Outgoing {
    if (!this.isAttached) return { credit: null, acknowledge: [], seek: [] };
    const { topicId } = this.identity;
    const acknowledge: Outgoing['acknowledge'][number][] = [];
    for (let acks = this.#acks.takePending(SPANS_MAX); acks; acks = this.#acks.takePending(SPANS_MAX))
      acknowledge.push({ resetEpoch: this.resetEpoch, upTo: acks.upTo, spans: acks.spans, requestId: 0, topicId });
    for (const [requestId, receipt] of this.#receipts) {
      if (receipt.sent) continue;
      receipt.sent = true;
      acknowledge.push({ resetEpoch: receipt.resetEpoch, upTo: receipt.upTo, spans: receipt.spans, requestId, topicId });
    }
    const seek: Outgoing['seek'][number][] = [];
    for (const [requestId, pending] of this.#seeks) {
      if (pending.sent) continue;
      pending.sent = true;
      seek.push({ requestId, to: pending.to, resetEpoch: this.resetEpoch, topicId });
    }
    return { credit: this.#credit.take(), acknowledge, seek };
  }

  // ---- inside ----

  #markDirty(): void {
    if (this.isAttached) this.#stream?.markDirty(this);
  }

  /** The attach is over: what was sent and not answered is sent again after the next one. */
  #onGone(): void {
    this.isAttached = false;
    for (const receipt of this.#receipts.values()) receipt.sent = false;
    for (const seek of this.#seeks.values()) seek.sent = false;
  }

  /** The cursor was sought, by us or by somebody else. */
  #onReset(resetEpoch: number): void {
    this.#acks.onReset(resetEpoch);
    this.#host.onVoid(this);
    this.#refuseOldReceipts();
  }

  #refuseOldReceipts(): void {
    for (const [requestId, receipt] of this.#receipts) {
      if (receipt.resetEpoch === this.resetEpoch) continue;
      this.#receipts.delete(requestId);
      receipt.done(soughtSince());
    }
  }

  #moveTo(address: string | null): void {
    this.#leave();
    this.#address = address;
    this.start();
  }

  #leave(): void {
    this.#stream?.remove(this, () => undefined);
    this.#stream = null;
  }

  #again(failure: Failure | null): void {
    if (this.#timer) return;
    this.#leave();
    if (failure) this.lastProblem = failure.message;
    if (failure?.code === 'not_owner') this.#address = null;
    const waitMs = Math.max(this.#backoff.next(this.#world.random()), failure?.retryAfterMs ?? 0);
    this.#timer = this.#world.after(waitMs, () => {
      this.#timer = null;
      this.start();
    });
  }

  #fail(failure: Failure): void {
    void this.stop(failure);
    this.#host.onFatal(this, failure);
  }

  #request<T extends { readonly done: (failure: Failure | null) => void }>(
    what: string,
    requests: Map<number, T>,
    make: (done: (failure: Failure | null) => void) => T,
  ): Promise<void> {
    if (this.#over) return Promise.reject(new SluiceError(fail('cancelled', 'the consumer is closed')));
    const requestId = this.#nextRequest++;
    return new Promise((resolve, reject) => {
      const timer = this.#world.after(this.#host.requestTimeoutMs, () => {
        requests.delete(requestId);
        const why = this.lastProblem === '' || this.isAttached ? '' : `; ${this.lastProblem}`;
        reject(new SluiceError({ ...fail('timeout', `the ${what} was not answered in time${why}`), stored: 'unknown' }));
      });
      requests.set(
        requestId,
        make(failure => {
          timer.cancel();
          if (failure) reject(new SluiceError(failure));
          else resolve();
        }),
      );
      this.#markDirty();
    });
  }
}

const soughtSince = (): Failure => fail('changed', 'the subscription was sought since this was received: nothing is acknowledged');

/** No attach will ever succeed, or this consumer has been told to go. */
function isFatal(failure: Failure): boolean {
  if (failure.code === 'topic_not_found') return true;
  if (failure.code === 'cancelled' || failure.code === 'internal') return false;
  return ERRORS[failure.code].retry === 'never';
}
