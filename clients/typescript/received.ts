// What a consumer or reader hands out: batches as they are stored, and their messages, decoded when asked for. Bytes are views into the
// received message; they stay valid as long as they are held, and hold the whole response in memory.

import { type Failure, fail, isFailure, SluiceError } from '#lib/types/errors.ts';
import { BatchCursor, checkBatch } from '#lib/wire/batch.ts';
import { decodeBatchInfoView } from '#lib/wire/batch-info.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import type { BatchInfoView, DeliveryFrame } from '#lib/wire/frames.ts';
import { StoredMessageId } from './message-id.ts';
import type { MessageId } from './types.ts';

export class ReceivedBatch {
  readonly topic: string;
  readonly partition: number;
  /** Of the first message in `bytes`. */
  readonly baseOffset: number;
  /** Messages that are meant: all of `bytes`, or those in `ranges`. */
  readonly count: number;
  readonly appendTimeMs: number;
  /** Which messages of `bytes` are meant, as (first index, count); []: all. What is left out was acknowledged before. */
  readonly ranges: readonly (readonly [number, number])[];
  /** The Batch as it is stored: protobuf bytes of `repeated Message messages = 1`. */
  readonly bytes: Buffer;
  /** 1 for the first delivery; 0: not counted. */
  readonly attempt: number;
  /** Identifies this life of the cursor; an acknowledgement carries it. */
  readonly resetEpoch: number;
  readonly #delivery: DeliveryFrame;
  readonly #total: number;
  readonly #plain: boolean;

  private constructor(topic: string, partition: number, delivery: DeliveryFrame, info: BatchInfoView) {
    this.topic = topic;
    this.partition = partition;
    this.baseOffset = delivery.baseOffset;
    this.appendTimeMs = delivery.appendTimeMs;
    this.ranges = delivery.ranges;
    this.bytes = delivery.batchView;
    this.attempt = delivery.attempt;
    this.resetEpoch = delivery.resetEpoch;
    this.count = meant(delivery, info.count);
    this.#delivery = delivery;
    this.#total = info.count;
    this.#plain = info.codec === 0;
  }

  /** A delivery whose info can be read; else the failure. Its bytes are checked by `verify`. */
  static of(topic: string, partition: number, delivery: DeliveryFrame): ReceivedBatch | Failure {
    const info = decodeBatchInfoView(delivery.infoView);
    if (isFailure(info)) return corrupt(topic, partition, delivery.baseOffset, `its info cannot be read: ${info.message}`);
    return new ReceivedBatch(topic, partition, delivery, info);
  }

  get appendTime(): Date {
    return new Date(this.appendTimeMs);
  }

  /** One past the last offset in `bytes`. */
  get endOffset(): number {
    return this.baseOffset + this.#total;
  }

  /** Of the first message. */
  get id(): MessageId {
    return new StoredMessageId(this.topic, this.partition, this.baseOffset);
  }

  /** What its bytes and count say against it; null: they hold. */
  verify(): Failure | null {
    const { crc, batchView } = this.#delivery;
    if (crc32c(batchView) !== crc) return this.#corrupt('its checksum does not hold');
    if (!this.#plain) return null;
    const wrong = checkBatch(batchView, this.#total);
    return wrong && this.#corrupt(wrong.message);
  }

  /** All messages that are meant. */
  messages(): ReceivedMessage[] {
    if (!this.#plain)
      throw new SluiceError(fail('unsupported', `the batch at ${this.id} is compressed, and this client was not asked to unpack it`));
    const messages: ReceivedMessage[] = [];
    const cursor = new BatchCursor(this.bytes);
    const { ranges } = this;
    let range = 0;
    for (let index = 0; cursor.next(); index++) {
      if (ranges.length > 0) {
        while (range < ranges.length && index >= endOf(ranges[range])) range += 1;
        if (range === ranges.length) break;
        if (index < (ranges[range]?.[0] ?? 0)) continue;
      }
      const { key, payload, headers, eventTimeMs } = cursor.message();
      messages.push(new ReceivedMessage(this, this.baseOffset + index, key, payload, headers, eventTimeMs));
    }
    if (cursor.failure) throw new SluiceError(this.#corrupt(cursor.failure.message));
    return messages;
  }

  /** Offsets [first, end) that are meant. */
  spans(): readonly (readonly [number, number])[] {
    if (this.ranges.length === 0) return [[this.baseOffset, this.endOffset]];
    return this.ranges.map(([first, count]) => [this.baseOffset + first, this.baseOffset + first + count] as const);
  }

  #corrupt(why: string): Failure {
    return corrupt(this.topic, this.partition, this.baseOffset, why);
  }
}

export class ReceivedMessage {
  readonly batch: ReceivedBatch;
  readonly offset: number;
  /** null: there is none, which is not the same as empty. */
  readonly key: Buffer | null;
  readonly payload: Buffer | null;
  readonly headers: readonly (readonly [string, Buffer])[];
  readonly eventTimeMs: number | null;

  constructor(
    batch: ReceivedBatch,
    offset: number,
    key: Buffer | null,
    payload: Buffer | null,
    headers: readonly (readonly [string, Buffer])[],
    eventTimeMs: number | null,
  ) {
    this.batch = batch;
    this.offset = offset;
    this.key = key;
    this.payload = payload;
    this.headers = headers;
    this.eventTimeMs = eventTimeMs;
  }

  get topic(): string {
    return this.batch.topic;
  }

  get partition(): number {
    return this.batch.partition;
  }

  get appendTimeMs(): number {
    return this.batch.appendTimeMs;
  }

  get appendTime(): Date {
    return this.batch.appendTime;
  }

  get attempt(): number {
    return this.batch.attempt;
  }

  get id(): MessageId {
    return new StoredMessageId(this.batch.topic, this.batch.partition, this.offset);
  }

  /** `topic:partition@offset` */
  toString(): string {
    return `${this.batch.topic}:${this.batch.partition}@${this.offset}`;
  }
}

function meant(delivery: DeliveryFrame, total: number): number {
  if (delivery.ranges.length === 0) return total;
  let count = 0;
  for (const range of delivery.ranges) count += range[1];
  return count;
}

const endOf = (range: readonly [number, number] | undefined): number => (range ? range[0] + range[1] : 0);

function corrupt(topic: string, partition: number, offset: number, why: string): Failure {
  return fail('corrupt_batch', `the batch at ${topic}:${partition}@${offset} is corrupt: ${why}`, {
    topic,
    partition: String(partition),
    offset: String(offset),
  });
}
