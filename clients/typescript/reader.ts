// A reader: messages of a topic from a position on, without a cursor. Each partition is one `Read` call, opened again after a loss where
// it was; a call is paused while enough waits here.

import { type ClientReadableStream, Metadata, type StatusObject } from '@grpc/grpc-js';
import { ERRORS, type Failure, fail, isFailure, SluiceError } from '#lib/types/errors.ts';
import type { PositionFrame } from '#lib/wire/frames.ts';
import { decodeReadResponse, encodeReadRequest } from '#lib/wire/messaging-codec.ts';
import { AsyncQueue, QueueIterator } from './async-queue.ts';
import { afterEnd, type Channels, failureOfCall, RESPONSE_BYTES_TAKEN, RETRY_LONGEST_MS } from './channels.ts';
import { Backoff } from './core/backoff.ts';
import type { TopicPlaces } from './lookup.ts';
import { MessageCursor } from './message-cursor.ts';
import { ReceivedBatch, type ReceivedMessage } from './received.ts';
import type { ClientTimer } from './world.ts';

export interface ReaderSetup {
  readonly places: TopicPlaces;
  readonly partitions: readonly number[];
  readonly start: PositionFrame;
  readonly follow: boolean;
  readonly bufferBytes: number;
}

interface Arrived {
  readonly source: PartitionSource;
  readonly batch: ReceivedBatch;
}

const PATH = '/sluice.v1.Messaging/Read';
const RETRY_FIRST_MS = 20;
const same = (bytes: Buffer): Buffer => bytes;

export class Reader {
  readonly topic: string;
  readonly #sources: readonly PartitionSource[];
  readonly #queue: AsyncQueue<Arrived>;
  readonly #cursor: MessageCursor;
  readonly #onClosed: (reader: Reader) => void;
  #running: number;

  constructor(channels: Channels, setup: ReaderSetup, onClosed: (reader: Reader) => void) {
    this.topic = setup.places.topic;
    this.#onClosed = onClosed;
    this.#queue = new AsyncQueue(arrived => this.#onTaken(arrived));
    this.#cursor = new MessageCursor(() => this.#nextBatch());
    this.#running = setup.partitions.length;
    const bufferBytes = Math.max(1, Math.floor(setup.bufferBytes / setup.partitions.length));
    this.#sources = setup.partitions.map(
      partition =>
        new PartitionSource(channels, setup, partition, bufferBytes, {
          onBatch: (source, batch) => this.#queue.push({ source, batch }),
          onEnd: () => this.#onEnd(),
          onFatal: failure => this.#fail(failure),
        }),
    );
    for (const source of this.#sources) source.open();
  }

  /** Batches as they are stored. A corrupt batch is thrown, and the next one follows it. */
  batches(): AsyncIterableIterator<ReceivedBatch, undefined> {
    return new QueueIterator(() => this.#nextBatch());
  }

  messages(): AsyncIterableIterator<ReceivedMessage, undefined> {
    return new QueueIterator(() => this.#cursor.next());
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<ReceivedMessage, undefined> {
    return this.messages();
  }

  /** Iterations end. */
  async close(): Promise<void> {
    for (const source of this.#sources) source.close();
    this.#queue.end(null, true);
    this.#onClosed(this);
  }

  async #nextBatch(): Promise<IteratorResult<ReceivedBatch, undefined>> {
    const result = await this.#queue.next();
    return result.done ? result : { value: result.value.batch, done: false };
  }

  #onTaken({ source, batch }: Arrived): void {
    source.onTaken(batch.bytes.length);
    const wrong = batch.verify();
    if (wrong) throw new SluiceError(wrong);
  }

  #onEnd(): void {
    this.#running -= 1;
    if (this.#running > 0) return;
    this.#queue.end(null, false);
    this.#onClosed(this);
  }

  #fail(failure: Failure): void {
    for (const source of this.#sources) source.close();
    this.#queue.end(new SluiceError(failure), true);
    this.#onClosed(this);
  }
}

interface SourceHost {
  onBatch(source: PartitionSource, batch: ReceivedBatch): void;
  onEnd(): void;
  onFatal(failure: Failure): void;
}

/** One partition of a reader. */
class PartitionSource {
  readonly #channels: Channels;
  readonly #setup: ReaderSetup;
  readonly #partition: number;
  readonly #bufferBytes: number;
  readonly #host: SourceHost;
  readonly #backoff = new Backoff(RETRY_FIRST_MS, RETRY_LONGEST_MS);
  #address: string | null;
  #call: ClientReadableStream<Buffer> | null = null;
  #timer: ClientTimer | null = null;
  #position: PositionFrame;
  /** Without following: what was the end when reading began; −1: not known yet. */
  #end = -1;
  #waiting = 0;
  #since: number;
  #closed = false;

  constructor(channels: Channels, setup: ReaderSetup, partition: number, bufferBytes: number, host: SourceHost) {
    this.#channels = channels;
    this.#setup = setup;
    this.#partition = partition;
    this.#bufferBytes = bufferBytes;
    this.#host = host;
    this.#position = setup.start;
    this.#address = setup.places.addresses[partition] ?? null;
    this.#since = channels.world.now();
  }

  open(): void {
    const { topic, topicId } = this.#setup.places;
    const request = encodeReadRequest({
      topic,
      topicId,
      partition: this.#partition,
      start: this.#position,
      follow: this.#setup.follow,
      messagesMax: 0,
      responseBytesMax: RESPONSE_BYTES_TAKEN,
      codecs: [],
    });
    const address = this.#address ?? this.#channels.home;
    const call = this.#channels.of(address).makeServerStreamRequest(PATH, same, same, request, new Metadata());
    this.#call = call;
    call.on('data', (message: Buffer) => this.#onMessage(call, message));
    afterEnd(call, status => this.#onStatus(call, address, status));
  }

  onTaken(bytes: number): void {
    this.#waiting -= bytes;
    if (this.#waiting * 2 <= this.#bufferBytes && this.#call?.isPaused()) this.#call.resume();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#call?.cancel();
    this.#call = null;
  }

  #onMessage(call: ClientReadableStream<Buffer>, message: Buffer): void {
    if (this.#call !== call) return;
    const response = decodeReadResponse(message);
    if (isFailure(response)) {
      this.#fail({ ...response, code: 'internal', message: `a response cannot be read: ${response.message}` });
      return;
    }
    this.#backoff.reset();
    this.#since = this.#channels.world.now();
    if (this.#end < 0) this.#end = response.endOffset;
    for (const delivery of response.deliveries) {
      const batch = ReceivedBatch.of(this.#setup.places.topic, this.#partition, delivery);
      if (!(batch instanceof ReceivedBatch)) {
        this.#fail(batch);
        return;
      }
      this.#waiting += batch.bytes.length;
      this.#host.onBatch(this, batch);
    }
    this.#position = { kind: 'offset', offset: response.nextOffset };
    if (this.#waiting >= this.#bufferBytes) call.pause();
  }

  #onStatus(call: ClientReadableStream<Buffer>, address: string, status: StatusObject): void {
    if (this.#call !== call) return;
    this.#call = null;
    if (this.#closed) return;
    const isEnd = status.code === 0 && !this.#setup.follow;
    const hasAll = !this.#setup.follow && this.#end >= 0 && this.#position.kind === 'offset' && this.#position.offset >= this.#end;
    if (isEnd || hasAll) {
      this.#closed = true;
      this.#host.onEnd();
      return;
    }
    const failure = failureOfCall(status);
    const explained = { ...failure, message: this.#channels.explain(failure, address) };
    const retry = ERRORS[failure.code].retry;
    const isOver = retry === 'never' && failure.code !== 'cancelled' && failure.code !== 'internal';
    const waited = this.#channels.world.now() - this.#since;
    // A reader that never follows has somebody waiting for its end; one that follows waits for the server as long as it takes.
    if (isOver || failure.code === 'topic_not_found' || (!this.#setup.follow && waited >= this.#channels.requestTimeoutMs)) {
      this.#fail(explained);
      return;
    }
    this.#channels.onUnreachable(address);
    this.#address = null;
    this.#timer = this.#channels.world.after(Math.max(this.#backoff.next(this.#channels.world.random()), failure.retryAfterMs), () =>
      this.open(),
    );
  }

  #fail(failure: Failure): void {
    this.close();
    this.#host.onFatal(failure);
  }
}

/** What a partition that does not exist is answered with. */
export const noPartition = (partition: number, count: number): SluiceError =>
  new SluiceError(fail('invalid_argument', `partition is ${partition}; the topic has 0 to ${count - 1}`, { field: 'partition' }));
