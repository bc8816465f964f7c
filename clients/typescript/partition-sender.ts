// One partition of one producer on its way to the broker that serves it: opens its place on that broker's stream, again after a loss or
// a refusal, with the same name, epoch and instance, and moves when it is told to. When it cannot go on it says so once, and is over.

import { ERRORS, type Failure } from '#lib/types/errors.ts';
import type { MovedFrame, OpenProducerFrame, ProducerOpenedFrame, StoredRange } from '#lib/wire/frames.ts';
import { RETRY_LONGEST_MS } from './channels.ts';
import { Backoff } from './core/backoff.ts';
import type { Lane } from './core/lane.ts';
import type { PublishStream, Sender } from './publish-stream.ts';
import type { ClientTimer, ClientWorld } from './world.ts';

export interface SenderIdentity {
  readonly topic: string;
  readonly topicId: string;
  /** '': no deduplication. */
  readonly name: string;
  readonly instance: string;
  readonly ephemeral: boolean;
  readonly window: number;
  readonly ackNone: boolean;
}

export interface SenderHost {
  /** The stream to an address; null: to where the client is at home. */
  stream(address: string | null): PublishStream;
  onOpened(sender: PartitionSender): void;
  /** The sender is over. */
  onFatal(sender: PartitionSender, failure: Failure): void;
  /** Hands out what is settled. */
  settle(sender: PartitionSender): void;
}

const REOPEN_FIRST_MS = 20;

export class PartitionSender implements Sender {
  readonly lane: Lane;
  readonly #identity: SenderIdentity;
  readonly #host: SenderHost;
  readonly #world: ClientWorld;
  readonly #backoff = new Backoff(REOPEN_FIRST_MS, RETRY_LONGEST_MS);
  #address: string | null;
  #stream: PublishStream | null = null;
  #timer: ClientTimer | null = null;
  #epoch = 0;
  #over = false;
  isOpen = false;
  /** Messages taken, and of these how many have an answer. */
  offered = 0;
  answered = 0;
  /** The last thing that went wrong, for those whose time is up. */
  lastProblem = '';

  constructor(lane: Lane, identity: SenderIdentity, address: string | null, host: SenderHost, world: ClientWorld) {
    this.lane = lane;
    this.#identity = identity;
    this.#address = address;
    this.#host = host;
    this.#world = world;
  }

  get ackNone(): boolean {
    return this.#identity.ackNone;
  }

  /** Begins to open, unless it has. */
  start(): void {
    if (this.#stream || this.#over) return;
    this.#stream = this.#host.stream(this.#address);
    this.#stream.open(this);
  }

  markDirty(): void {
    if (this.isOpen) this.#stream?.markDirty(this);
  }

  /** Leaves the stream; nothing is heard of it any more. */
  stop(): void {
    this.#over = true;
    this.isOpen = false;
    this.#timer?.cancel();
    this.#stream?.remove(this);
  }

  // ---- the stream ----

  openFrame(handle: number): OpenProducerFrame {
    const { topic, topicId, name, instance, window, ephemeral } = this.#identity;
    return { handle, topic, partition: this.lane.partition, name, epoch: this.#epoch, instance, window, topicId, ephemeral };
  }

  onOpened(frame: ProducerOpenedFrame): void {
    if (this.#over) return;
    this.#epoch = frame.epoch;
    this.isOpen = true;
    this.lane.onOpened(frame.lastSequence, frame.window === 0 ? this.#identity.window : frame.window);
    this.#host.onOpened(this);
  }

  onStored(sequence: number, range: StoredRange): void {
    this.#backoff.reset();
    this.lane.onStored(sequence, range.offset);
  }

  onRefused(sequence: number, failure: Failure): void {
    if (this.#over) return;
    this.lastProblem = failure.message;
    const verdict = this.lane.onRefused(sequence, failure, this.#world.now());
    if (verdict.kind === 'fatal') this.#fail(verdict.failure);
    else if (verdict.kind === 'reopen') this.#reopen(failure);
  }

  onClosed(failure: Failure | null, moved: MovedFrame | null): void {
    if (this.#over) return;
    if (moved && moved.address !== '') {
      this.#moveTo(moved.address);
      return;
    }
    if (failure && isFatal(failure)) {
      this.#fail(failure);
      return;
    }
    this.#reopen(failure);
  }

  onLost(failure: Failure): void {
    if (this.#over) return;
    this.isOpen = false;
    this.lane.onClosed();
    this.lastProblem = failure.message;
    if (isFatal(failure)) {
      this.#fail(failure);
      return;
    }
    // Elsewhere it was served by another broker: where it is now, home will say.
    if (this.#address !== null) this.#moveTo(null);
  }

  afterTurn(): void {
    this.#host.settle(this);
  }

  // ---- inside ----

  #moveTo(address: string | null): void {
    this.#leave();
    this.#address = address;
    this.start();
  }

  #leave(): void {
    this.isOpen = false;
    this.lane.onClosed();
    this.#stream?.remove(this);
    this.#stream = null;
  }

  #reopen(failure: Failure | null): void {
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
    this.stop();
    this.#host.onFatal(this, failure);
  }
}

/** No opening will ever succeed: the name is taken over, the topic gone, or the request wrong. */
function isFatal(failure: Failure): boolean {
  if (failure.code === 'topic_not_found') return true;
  if (failure.code === 'cancelled' || failure.code === 'internal') return false;
  return ERRORS[failure.code].retry === 'never';
}
