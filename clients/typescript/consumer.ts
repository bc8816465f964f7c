// A consumer: everything that a durable subscription has not acknowledged, of all partitions of its topics, as it comes. Each partition is
// in order. Batches are what travels; messages are the convenience. What is not acknowledged comes again after a loss.

import { type Failure, fail, SluiceError } from '#lib/types/errors.ts';
import { AsyncQueue, QueueIterator } from './async-queue.ts';
import { CreditBook } from './core/credit-book.ts';
import type { TopicPlaces } from './lookup.ts';
import { MessageCursor } from './message-cursor.ts';
import { invalid, positionOf } from './options.ts';
import { PartitionReceiver, type ReceiverHost, type ReceiverIdentity } from './partition-receiver.ts';
import { ReceivedBatch, ReceivedMessage } from './received.ts';
import type { SubscribeStream } from './subscribe-stream.ts';
import type { Attachment, Holder, MessageId, Start } from './types.ts';
import type { ClientWorld } from './world.ts';

/** What can be acknowledged. A `MessageId` alone is acknowledged as the cursor stands now. */
export type Acknowledgeable = ReceivedMessage | ReceivedBatch | MessageId;

/** What a consumer needs of its client. */
export interface ConsumerHost {
  readonly world: ClientWorld;
  readonly requestTimeoutMs: number;
  subscribeStream(address: string | null): SubscribeStream;
  /** It exists from here on, although nobody holds it yet: closing the client closes it. */
  onOpening(consumer: Consumer): void;
  onClosed(consumer: Consumer): void;
}

export interface ConsumerSetup {
  readonly places: readonly TopicPlaces[];
  readonly identity: Omit<ReceiverIdentity, 'topic' | 'topicId' | 'partition'>;
  readonly creditMessages: number;
  readonly creditBytes: number;
  readonly waitForAccess: boolean;
  readonly onWaiting: ((holder: Holder) => void) | undefined;
}

interface Arrived {
  readonly receiver: PartitionReceiver;
  readonly batch: ReceivedBatch;
}

/** Each partition may send at least so much, however many share the credit. */
const PARTITION_CREDIT_BYTES_MIN = 16 * 1024;
const CLOSE_MS = 2_000;

export class Consumer {
  readonly subscription: string;
  readonly name: string;
  readonly #host: ConsumerHost;
  readonly #setup: ConsumerSetup;
  readonly #receivers: PartitionReceiver[] = [];
  readonly #byTopic = new Map<string, (PartitionReceiver | undefined)[]>();
  readonly #queue: AsyncQueue<Arrived>;
  readonly #cursor: MessageCursor;
  #opening: { readonly resolve: () => void; readonly reject: (error: SluiceError) => void } | null = null;
  #over: SluiceError | null = null;
  #closing: Promise<void> | null = null;

  private constructor(host: ConsumerHost, setup: ConsumerSetup) {
    this.#host = host;
    this.#setup = setup;
    this.subscription = setup.identity.subscription;
    this.name = setup.identity.consumer;
    this.#queue = new AsyncQueue(arrived => this.#onTaken(arrived));
    this.#cursor = new MessageCursor(() => this.#nextBatch());
    const receiverHost: ReceiverHost = {
      requestTimeoutMs: host.requestTimeoutMs,
      stream: address => host.subscribeStream(address),
      onAttached: () => this.#checkOpen(),
      onBatch: (receiver, batch) => this.#queue.push({ receiver, batch }),
      onVoid: receiver => this.#onVoid(receiver),
      onBusy: (receiver, failure) => this.#onBusy(receiver, failure),
      onFatal: (_receiver, failure) => this.#fail(failure),
    };
    const partitions = setup.places.reduce((sum, places) => sum + places.addresses.length, 0);
    const creditBytes = Math.max(Math.min(PARTITION_CREDIT_BYTES_MIN, setup.creditBytes), Math.floor(setup.creditBytes / partitions));
    const creditMessages = Math.max(1, Math.floor(setup.creditMessages / partitions));
    for (const { topic, topicId, addresses } of setup.places) {
      const ofTopic: PartitionReceiver[] = [];
      for (const [partition, address] of addresses.entries()) {
        const identity = { ...setup.identity, topic, topicId, partition };
        const credit = new CreditBook(creditMessages, creditBytes);
        ofTopic.push(new PartitionReceiver(identity, address ?? null, credit, receiverHost, host.world));
      }
      this.#byTopic.set(topic, ofTopic);
      this.#receivers.push(...ofTopic);
    }
  }

  /** Resolves when every partition is attached; while another consumer holds one and waiting is allowed, that may take for ever. */
  static async open(host: ConsumerHost, setup: ConsumerSetup): Promise<Consumer> {
    const consumer = new Consumer(host, setup);
    host.onOpening(consumer);
    await consumer.#open();
    return consumer;
  }

  /** Batches as they are stored. Leaving the loop leaves the consumer as it is. A corrupt batch is thrown, and the next one follows it. */
  batches(): AsyncIterableIterator<ReceivedBatch, undefined> {
    return new QueueIterator(() => this.#nextBatch());
  }

  /** Messages, decoded batch by batch. */
  messages(): AsyncIterableIterator<ReceivedMessage, undefined> {
    return new QueueIterator(() => this.#cursor.next());
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<ReceivedMessage, undefined> {
    return this.messages();
  }

  /** Sent at the end of this turn; a cursor in memory, then in checkpoints. What it costs to lose one is a repeat. */
  acknowledge(what: Acknowledgeable): void {
    const receiver = this.#receiverOf(what);
    if (what instanceof ReceivedBatch) for (const [first, end] of what.spans()) receiver.acknowledge(what.resetEpoch, first, end);
    else receiver.acknowledge(epochOf(what, receiver), what.offset, what.offset + 1);
  }

  /** It and all before it in its partition. */
  acknowledgeCumulative(what: Acknowledgeable): void {
    const receiver = this.#receiverOf(what);
    receiver.acknowledgeUpTo(epochOf(what, receiver), endOf(what));
  }

  /** Resolves when the log has it: no crash undoes it. */
  async acknowledgeDurably(what: Acknowledgeable, options: { readonly cumulative?: boolean } = {}): Promise<void> {
    const receiver = this.#receiverOf(what);
    const epoch = epochOf(what, receiver);
    if (options.cumulative === true) return receiver.acknowledgeDurably(epoch, endOf(what), []);
    const spans = what instanceof ReceivedBatch ? what.spans() : [[what.offset, what.offset + 1] as const];
    return receiver.acknowledgeDurably(epoch, 0, spans);
  }

  /** Moves the subscription, in one partition or in all. When it resolves, what comes next is from there. */
  async seek(to: Start, partition?: number): Promise<void> {
    const position = positionOf(to);
    const meant = partition === undefined ? this.#receivers : this.#receivers.filter(one => one.identity.partition === partition);
    if (meant.length === 0) throw invalid('partition', `is ${partition}, which this consumer does not have`);
    await Promise.all(meant.map(receiver => receiver.seek(position)));
  }

  /** Where each partition stood when it was attached. */
  get attachments(): readonly Attachment[] {
    return this.#receivers.map(receiver => receiver.attachment);
  }

  /** Sends what is acknowledged and leaves; iterations end. What was not acknowledged comes again to the next consumer. */
  close(): Promise<void> {
    const failure = fail('cancelled', 'the consumer is closed');
    this.#closing ??= this.#close(failure, null);
    this.#opening?.reject(new SluiceError(failure));
    this.#opening = null;
    return this.#closing;
  }

  // ---- opening ----

  async #open(): Promise<void> {
    let timer = this.#host.world.after(this.#host.requestTimeoutMs, () => onTime());
    const onTime = (): void => {
      const stuck = this.#receivers.find(receiver => !receiver.isAttached && !receiver.isWaiting);
      if (!stuck) timer = this.#host.world.after(this.#host.requestTimeoutMs, onTime);
      else {
        const why = stuck.lastProblem === '' ? '' : `; ${stuck.lastProblem}`;
        this.#fail(fail('timeout', `the consumer could not be attached in time${why}`));
      }
    };
    try {
      await new Promise<void>((resolve, reject) => {
        this.#opening = { resolve, reject };
        for (const receiver of this.#receivers) receiver.start();
      });
    } finally {
      timer.cancel();
    }
  }

  #checkOpen(): void {
    if (!this.#opening || this.#receivers.some(receiver => !receiver.isAttached)) return;
    this.#opening.resolve();
    this.#opening = null;
  }

  #onBusy(receiver: PartitionReceiver, failure: Failure): boolean {
    if (!this.#setup.waitForAccess) return false;
    const { topic, partition } = receiver.identity;
    const { holder = '', address = '', since = '' } = failure.detail;
    this.#setup.onWaiting?.({ topic, partition, name: holder, address, since });
    return true;
  }

  // ---- handing out ----

  async #nextBatch(): Promise<IteratorResult<ReceivedBatch, undefined>> {
    const result = await this.#queue.next();
    return result.done ? result : { value: result.value.batch, done: false };
  }

  /** Throws what the one who takes it shall see instead. */
  #onTaken({ receiver, batch }: Arrived): void {
    receiver.onTaken(batch.count, batch.bytes.length);
    const wrong = batch.verify();
    if (wrong) throw new SluiceError(wrong);
  }

  #onVoid(receiver: PartitionReceiver): void {
    for (const { batch } of this.#queue.removeUnless(arrived => arrived.receiver !== receiver))
      receiver.onTaken(batch.count, batch.bytes.length);
    const { topic, partition } = receiver.identity;
    this.#cursor.dropIf(batch => batch.topic === topic && batch.partition === partition && batch.resetEpoch < receiver.resetEpoch);
  }

  #receiverOf(what: Acknowledgeable): PartitionReceiver {
    const receiver = this.#byTopic.get(what.topic)?.[what.partition];
    if (!receiver) throw invalid('message', `is of ${what.topic}:${what.partition}, which this consumer does not have`);
    return receiver;
  }

  // ---- ends ----

  #fail(failure: Failure): void {
    if (this.#closing) return;
    const error = new SluiceError(failure);
    this.#closing = this.#close(failure, error);
    this.#opening?.reject(error);
    this.#opening = null;
  }

  async #close(failure: Failure, error: SluiceError | null): Promise<void> {
    this.#over = error;
    this.#queue.end(this.#over, true);
    const gone = Promise.all(this.#receivers.map(receiver => receiver.stop(failure)));
    await Promise.race([gone, new Promise<void>(resolve => this.#host.world.after(CLOSE_MS, resolve))]);
    this.#host.onClosed(this);
  }
}

function epochOf(what: Acknowledgeable, receiver: PartitionReceiver): number {
  if (what instanceof ReceivedBatch) return what.resetEpoch;
  return what instanceof ReceivedMessage ? what.batch.resetEpoch : receiver.resetEpoch;
}

/** One past the last offset of it. */
const endOf = (what: Acknowledgeable): number => (what instanceof ReceivedBatch ? what.endOffset : what.offset + 1);
