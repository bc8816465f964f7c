// A producer: takes messages, chooses their partitions, and tells what became of each. Its memory is bounded: `offer` says no, `send` waits.
// No promise, timer or object is made per message that is offered without a listener.

import { type Failure, fail, SluiceError } from '#lib/types/errors.ts';
import { MIB } from '#lib/types/limits.ts';
import { murmur2 } from '#lib/wire/murmur2.ts';
import { BufferPool } from './core/buffer-pool.ts';
import { Deque } from './core/deque.ts';
import { Lane, type LaneOptions } from './core/lane.ts';
import type { MemoryBudget } from './core/memory-budget.ts';
import { Partitioner } from './core/partitioner.ts';
import type { PendingBatch } from './core/pending-batch.ts';
import type { TopicPlaces } from './lookup.ts';
import { StoredMessageId } from './message-id.ts';
import { invalid } from './options.ts';
import { PartitionSender, type SenderHost, type SenderIdentity } from './partition-sender.ts';
import type { PublishStream } from './publish-stream.ts';
import type { MessageId, OnResult, Outgoing, OutgoingMessage, ProducerStats } from './types.ts';
import type { ClientTimer, ClientWorld } from './world.ts';

/** What a producer needs of its client. */
export interface ProducerHost {
  readonly world: ClientWorld;
  readonly memory: MemoryBudget;
  publishStream(address: string | null): PublishStream;
  /** It exists from here on, although nobody holds it yet: closing the client closes it. */
  onOpening(producer: Producer): void;
  onClosed(producer: Producer): void;
}

export interface ProducerSetup {
  readonly places: TopicPlaces;
  readonly name: string;
  readonly instance: string;
  readonly ephemeral: boolean;
  readonly lane: LaneOptions;
  readonly memoryBytesMax: number;
  readonly openTimeoutMs: number;
}

interface WaitingSend {
  readonly message: OutgoingMessage;
  readonly listener: OnResult;
  readonly deadlineMs: number;
}

interface Flush {
  readonly targets: readonly (readonly [PartitionSender, number])[];
  readonly done: () => void;
}

/** After so much the loop gets a turn, so that what was taken is sent and answers are read. */
const TURN_BYTES = MIB;
/** Calls of `send` that wait for memory; more are refused. */
const WAITING_SENDS_MAX = 100_000;
const TICK_MS = 100;
/** Idle buffers that are kept: a window of full batches. */
const POOL_BYTES = 8 * MIB;
/** A topic with more partitions is opened partition by partition, when each is first used. */
const OPEN_AT_ONCE_MAX = 16;

export class Producer {
  readonly topic: string;
  readonly topicId: string;
  readonly name: string;
  readonly partitions: number;
  readonly #host: ProducerHost;
  readonly #setup: ProducerSetup;
  readonly #identity: SenderIdentity;
  readonly #senderHost: SenderHost;
  readonly #senders: (PartitionSender | undefined)[] = [];
  readonly #partitioner: Partitioner;
  readonly #pool = new BufferPool(POOL_BYTES);
  readonly #waiting = new Deque<WaitingSend>();
  #bytes = 0;
  #turnBytes = 0;
  #turnFull = false;
  #messages = 0;
  #stored = 0;
  #failed = 0;
  /** Of a message whose sender did not listen: the next `flush` tells. */
  #unheard: SluiceError | null = null;
  #over: SluiceError | null = null;
  #closing: Promise<void> | null = null;
  #ready: (() => void)[] = [];
  #flushes: Flush[] = [];
  #opening: { readonly resolve: () => void; readonly reject: (error: SluiceError) => void; left: number } | null = null;
  #ticker: ClientTimer | null = null;

  private constructor(host: ProducerHost, setup: ProducerSetup) {
    this.#host = host;
    this.#setup = setup;
    this.topic = setup.places.topic;
    this.topicId = setup.places.topicId;
    this.name = setup.name;
    this.partitions = setup.places.addresses.length;
    this.#partitioner = new Partitioner(this.partitions, Math.floor(host.world.random() * this.partitions));
    const { ackNone, window } = setup.lane;
    this.#identity = {
      topic: this.topic,
      topicId: this.topicId,
      name: ackNone ? '' : setup.name,
      instance: setup.instance,
      ephemeral: setup.ephemeral,
      window,
      ackNone,
    };
    this.#senderHost = {
      stream: address => host.publishStream(address),
      onOpened: sender => this.#onOpened(sender),
      onFatal: (_sender, failure) => this.#fail(failure),
      settle: sender => this.#settle(sender),
    };
  }

  /** Resolves when it is open: every partition of a named producer, so that older ones are fenced; else the first few. */
  static async open(host: ProducerHost, setup: ProducerSetup): Promise<Producer> {
    const producer = new Producer(host, setup);
    host.onOpening(producer);
    const count = producer.partitions;
    if (!setup.ephemeral || count <= OPEN_AT_ONCE_MAX) await producer.#openAll(count);
    return producer;
  }

  /** Resolves to where the message is stored. Rejects with `SluiceError`, whose `stored` says whether it may be. Waits for memory. */
  send(message: Outgoing): Promise<MessageId> {
    return new Promise((resolve, reject) => {
      const listener: OnResult = result => (result instanceof SluiceError ? reject(result) : resolve(result));
      if (this.#closing) throw closed();
      const whole = wholeMessage(message);
      if (this.#waiting.length === 0 && !this.#isFull()) this.#take(whole, listener);
      else this.#wait(whole, listener);
    });
  }

  /**
   * Takes a message without a promise. False: not taken, memory is full or this turn of the loop has taken enough; offer it again after
   * `ready()`. Throws `SluiceError` for what can never be taken. A failure that no `onResult` hears is thrown by the next `flush`.
   */
  offer(message: Outgoing, onResult?: OnResult): boolean {
    if (this.#turnFull || this.#waiting.length > 0 || this.#isFull()) return false;
    if (this.#closing) throw closed();
    this.#take(wholeMessage(message), onResult);
    return true;
  }

  /** Resolves when `offer` will take a message; rejects when it never will. */
  ready(): Promise<void> {
    if (this.#over || this.#closing) return Promise.reject(this.#over ?? closed());
    if (this.#hasRoom()) return Promise.resolve();
    this.#host.memory.notify(this);
    return new Promise((resolve, reject) => this.#ready.push(() => (this.#over ? reject(this.#over) : resolve())));
  }

  /** Resolves when all that was taken before has its answer; rejects if a message failed to which nobody listened. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0) await new Promise<void>(resolve => this.#ready.push(resolve));
    const targets: (readonly [PartitionSender, number])[] = [];
    for (const sender of this.#senders) if (sender && sender.answered < sender.offered) targets.push([sender, sender.offered]);
    if (targets.length > 0) await new Promise<void>(done => this.#flushes.push({ targets, done }));
    const unheard = this.#unheard;
    this.#unheard = null;
    if (unheard) throw unheard;
  }

  /** Flushes, then leaves. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  get stats(): ProducerStats {
    let batchesSent = 0;
    let batchesResent = 0;
    let batchesInFlight = 0;
    for (const sender of this.#senders) {
      if (!sender) continue;
      batchesSent += sender.lane.batchesSent;
      batchesResent += sender.lane.batchesResent;
      batchesInFlight += sender.lane.inFlight;
    }
    return {
      messagesStored: this.#stored,
      messagesFailed: this.#failed,
      messagesPending: this.#messages,
      bytesPending: this.#bytes,
      batchesSent,
      batchesInFlight,
      batchesResent,
    };
  }

  /** The client's memory has room again. */
  onMemory(): void {
    this.#admit();
  }

  // ---- taking ----

  #isFull(): boolean {
    return this.#bytes >= this.#setup.memoryBytesMax || this.#host.memory.isFull;
  }

  #hasRoom(): boolean {
    return !this.#turnFull && this.#waiting.length === 0 && !this.#isFull();
  }

  #take(message: OutgoingMessage, listener: OnResult | undefined): void {
    if (this.#over) throw this.#over;
    let partition = 0;
    let keyHash = -1;
    let mayGoElsewhere = false;
    if (this.partitions > 1 || message.partition !== undefined) {
      const { key } = message;
      if (message.partition !== undefined) partition = this.#checked(message.partition);
      else if (key === null || key === undefined) {
        partition = this.#inTurn();
        mayGoElsewhere = true;
      } else {
        keyHash = murmur2(typeof key === 'string' ? Buffer.from(key) : key);
        partition = this.#partitioner.ofHash(keyHash);
      }
    }
    let sender = this.#senders[partition] ?? this.#newSender(partition);
    if (!this.#add(sender, message, keyHash, listener, mayGoElsewhere)) {
      sender.markDirty();
      partition = this.#inTurn();
      sender = this.#senders[partition] ?? this.#newSender(partition);
      this.#add(sender, message, keyHash, listener, false);
    }
    const { lane } = sender;
    sender.offered += 1;
    this.#messages += 1;
    this.#bytes += lane.addedBytes;
    this.#host.memory.take(lane.addedBytes);
    this.#turnBytes += lane.addedBytes;
    if (this.#turnBytes >= TURN_BYTES && !this.#turnFull) this.#endTurn();
    sender.markDirty();
    if (!this.#ticker) this.#tick();
  }

  /** False: the batch is full, and the message may go elsewhere. */
  #add(
    { lane }: PartitionSender,
    message: OutgoingMessage,
    keyHash: number,
    listener: OnResult | undefined,
    mayGoElsewhere: boolean,
  ): boolean {
    if (lane.isBetweenBatches) lane.beginAt(this.#host.world.now());
    const refusal = lane.add(message, keyHash, listener, mayGoElsewhere);
    if (refusal === 'full') return false;
    if (refusal) throw new SluiceError(refusal);
    if (lane.beganBatch) lane.beginAt(this.#host.world.now());
    return true;
  }

  /** For a message without a key: the present partition, until a batch of it has been closed. */
  #inTurn(): number {
    const present = this.#partitioner.present();
    const lane = this.#senders[present]?.lane;
    if (!lane?.closedBatch) return present;
    lane.closedBatch = false;
    this.#partitioner.onBatchClosed(present);
    return this.#partitioner.present();
  }

  #checked(partition: number): number {
    if (Number.isInteger(partition) && partition >= 0 && partition < this.partitions) return partition;
    throw invalid('partition', `is ${partition}; ${this.topic} has partitions 0 to ${this.partitions - 1}`);
  }

  #wait(message: OutgoingMessage, listener: OnResult): void {
    if (this.#over) throw this.#over;
    if (this.#waiting.length >= WAITING_SENDS_MAX)
      throw new SluiceError(fail('overloaded', `${WAITING_SENDS_MAX} calls of send wait for memory; await them, or use offer and ready`));
    this.#waiting.push({ message, listener, deadlineMs: this.#host.world.now() + this.#setup.lane.sendTimeoutMs });
    this.#host.memory.notify(this);
    if (!this.#ticker) this.#tick();
  }

  #endTurn(): void {
    this.#turnFull = true;
    this.#host.world.endOfTurn(() => {
      this.#turnFull = false;
      this.#turnBytes = 0;
      this.#admit();
    });
  }

  /** There may be room: first for those that wait in `send`, then for those that ask `ready`. */
  #admit(): void {
    while (!this.#isFull()) {
      const next = this.#waiting.shift();
      if (!next) break;
      try {
        this.#take(next.message, next.listener);
      } catch (error) {
        this.#tell(next.listener, error instanceof SluiceError ? error : new SluiceError(fail('internal', String(error))));
      }
    }
    if (this.#isFull()) this.#host.memory.notify(this);
    if (this.#ready.length === 0 || (!this.#over && !this.#hasRoom())) return;
    const ready = this.#ready;
    this.#ready = [];
    for (const run of ready) run();
  }

  // ---- senders ----

  #newSender(partition: number): PartitionSender {
    const lane = new Lane(partition, this.#setup.lane, this.#pool);
    const address = this.#setup.places.addresses[partition] ?? null;
    const sender = new PartitionSender(lane, this.#identity, address, this.#senderHost, this.#host.world);
    this.#senders[partition] = sender;
    sender.start();
    return sender;
  }

  async #openAll(count: number): Promise<void> {
    const timer = this.#host.world.after(this.#setup.openTimeoutMs, () => {
      const why = this.#senders.find(sender => sender && !sender.isOpen)?.lastProblem ?? '';
      this.#fail(fail('timeout', `the producer could not be opened in time${why === '' ? '' : `; ${why}`}`));
    });
    try {
      await new Promise<void>((resolve, reject) => {
        this.#opening = { resolve, reject, left: count };
        for (let partition = 0; partition < count; partition++) this.#newSender(partition);
      });
    } finally {
      timer.cancel();
    }
  }

  #onOpened(_sender: PartitionSender): void {
    const opening = this.#opening;
    if (!opening || this.#senders.some(sender => !sender?.isOpen)) return;
    this.#opening = null;
    opening.resolve();
  }

  /** Hands out what became of batches. */
  #settle(sender: PartitionSender): void {
    for (let settled = sender.lane.takeSettled(); settled.length > 0; settled = sender.lane.takeSettled()) {
      for (const settlement of settled) {
        const { batch } = settlement;
        if (settlement.kind === 'stored') this.#onStored(sender, batch, settlement.offset);
        else if (settlement.kind === 'failed') this.#onFailed(sender, batch, settlement.failure);
        if (settlement.kind !== 'failed' || settlement.released) this.#release(sender, batch);
      }
    }
    this.#admit();
    if (this.#flushes.length > 0) this.#checkFlushes();
  }

  #onStored(sender: PartitionSender, batch: PendingBatch, offset: number): void {
    sender.answered += batch.count;
    this.#messages -= batch.count;
    this.#stored += batch.count;
    const { listeners } = batch;
    if (!listeners) return;
    const { partition } = sender.lane;
    for (let index = 0; index < listeners.length; index++) {
      const listener = listeners[index];
      if (listener) this.#tell(listener, new StoredMessageId(this.topic, partition, offset < 0 ? -1 : offset + index));
    }
  }

  #onFailed(sender: PartitionSender, batch: PendingBatch, failure: Failure): void {
    sender.answered += batch.count;
    this.#messages -= batch.count;
    this.#failed += batch.count;
    const error = new SluiceError(failure);
    let heard = 0;
    for (const listener of batch.listeners ?? []) {
      if (!listener) continue;
      heard += 1;
      this.#tell(listener, error);
    }
    if (heard < batch.count) this.#unheard ??= error;
  }

  #release(sender: PartitionSender, batch: PendingBatch): void {
    sender.lane.release(batch);
    this.#bytes -= batch.bytes;
    this.#host.memory.give(batch.bytes);
  }

  /** A listener that throws is a bug of its own: it must not stop the others. */
  #tell(listener: OnResult, result: MessageId | SluiceError): void {
    try {
      listener(result);
    } catch (error) {
      this.#host.world.endOfTurn(() => {
        throw error;
      });
    }
  }

  #checkFlushes(): void {
    const open: Flush[] = [];
    for (const flush of this.#flushes) {
      if (flush.targets.every(([sender, target]) => sender.answered >= target)) flush.done();
      else open.push(flush);
    }
    this.#flushes = open;
  }

  // ---- time and ends ----

  /** While something is pending, and only then. */
  #tick(): void {
    this.#ticker = this.#host.world.after(TICK_MS, () => {
      this.#ticker = null;
      const nowMs = this.#host.world.now();
      for (const sender of this.#senders) {
        if (!sender || sender.lane.isEmpty) continue;
        sender.lane.expire(nowMs, sender.lastProblem);
        this.#settle(sender);
      }
      for (let next = this.#waiting.peek(); next !== undefined && next.deadlineMs <= nowMs; next = this.#waiting.peek()) {
        this.#waiting.shift();
        this.#tell(next.listener, new SluiceError(fail('timeout', 'the message found no room in the memory of its producer in time')));
      }
      if (!this.#over && !this.#ticker && (this.#bytes > 0 || this.#waiting.length > 0)) this.#tick();
    });
  }

  #fail(failure: Failure): void {
    if (this.#over) return;
    const error = new SluiceError({ ...failure, stored: 'no' });
    this.#over = error;
    this.#ticker?.cancel();
    this.#opening?.reject(error);
    this.#opening = null;
    for (const next of this.#waiting.drain()) this.#tell(next.listener, error);
    for (const sender of this.#senders) {
      if (!sender) continue;
      sender.lane.failAll(failure);
      sender.stop();
      this.#settle(sender);
    }
    this.#admit();
    this.#host.onClosed(this);
  }

  async #close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      this.#fail(closedFailure());
    }
  }
}

const closedFailure = (): Failure => fail('cancelled', 'the producer is closed');
const closed = (): SluiceError => new SluiceError(closedFailure());

function wholeMessage(message: Outgoing): OutgoingMessage {
  return typeof message === 'string' || message instanceof Uint8Array ? { payload: message } : message;
}
