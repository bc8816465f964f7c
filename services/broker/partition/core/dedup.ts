// Deduplication on Publish (DESIGN ch. 5). A producer has a name, an epoch and a random instance; a batch names its sequence and the one
// before it. A batch is accepted only if the one before it is the producer's last accepted one; the last N are kept with offset and
// checksum, so that a repeat is answered and not stored again. "Not stored" is said only where it is certain.

import { assert } from '#lib/types/assert.ts';
import { type Failure, fail, unknownFate } from '#lib/types/errors.ts';
import { PRODUCER_WINDOW_MAX } from '#lib/types/limits.ts';
import type { ProducerMark } from '#lib/wire/entry-meta.ts';
import type { ExpireTimes, ProducerRecord } from './control.ts';
import { amount, FieldError, flag, list, text } from './fields.ts';

const BUCKETS = 16;
/** Numbers kept per batch: sequence, offset, count, crc. */
const STRIDE = 4;

export interface BatchIdentity {
  readonly name: string;
  readonly epoch: number;
  readonly instance: string;
  readonly sequence: number;
  readonly prevSequence: number;
  readonly crc: number;
}

export type Verdict =
  | { readonly kind: 'accept' }
  /** The one before it may still come: worth holding for a moment. */
  | { readonly kind: 'early' }
  | { readonly kind: 'repeat'; readonly offset: number; readonly count: number }
  | Failure;

export type OpeningVerdict =
  /** Nothing changes; the answer waits until all accepted before is acknowledged. */
  { readonly kind: 'same'; readonly producer: Producer } | { readonly kind: 'epoch'; readonly record: ProducerRecord } | Failure;

const ACCEPT: Verdict = { kind: 'accept' };
const EARLY: Verdict = { kind: 'early' };
/** An epoch is one more than the one before; a client that names an absurd one must not end that. */
const EPOCH_MAX = 2 ** 48;

export class Producer {
  readonly name: string;
  epoch = 0;
  instance = '';
  window = PRODUCER_WINDOW_MAX;
  ephemeral = false;
  /** The last sequence accepted, in any epoch. */
  last = 0;
  /** Every batch above it that was accepted in this epoch is in `recent`. */
  floor = 0;
  usedMs = 0;
  /** The last `window` batches of this epoch, oldest first from `#head`, four numbers each. */
  #recent: number[] = [];
  #head = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Index of a kept sequence, or -1. Searched from the newest on: repeats are mostly of the last few. */
  #find(sequence: number): number {
    const ring = this.#recent;
    for (let n = ring.length / STRIDE - 1; n >= 0; n--) {
      const at = (this.#head + n * STRIDE) % ring.length;
      const kept = ring[at] ?? 0;
      if (kept === sequence) return at;
      if (kept < sequence) return -1;
    }
    return -1;
  }

  kept(sequence: number): { readonly offset: number; readonly count: number; readonly crc: number } | undefined {
    const at = this.#find(sequence);
    if (at < 0) return undefined;
    return { offset: this.#recent[at + 1] ?? 0, count: this.#recent[at + 2] ?? 0, crc: this.#recent[at + 3] ?? 0 };
  }

  begin(record: ProducerRecord, nowMs: number): void {
    this.epoch = record.epoch;
    this.instance = record.instance;
    this.window = record.window;
    this.ephemeral = record.ephemeral;
    this.floor = this.last;
    this.usedMs = nowMs;
    this.#recent = [];
    this.#head = 0;
  }

  keep(sequence: number, offset: number, count: number, crc: number, nowMs: number): void {
    const ring = this.#recent;
    this.last = sequence;
    this.usedMs = nowMs;
    if (ring.length < this.window * STRIDE) {
      ring.push(sequence, offset, count, crc);
      return;
    }
    const at = this.#head;
    this.floor = ring[at] ?? this.floor;
    ring[at] = sequence;
    ring[at + 1] = offset;
    ring[at + 2] = count;
    ring[at + 3] = crc;
    this.#head = (at + STRIDE) % ring.length;
  }

  encode(): readonly unknown[] {
    const recent = [...this.#recent.slice(this.#head), ...this.#recent.slice(0, this.#head)];
    return [this.name, this.epoch, this.instance, this.window, this.ephemeral, this.last, this.floor, this.usedMs, recent];
  }

  static decode(data: unknown): Producer {
    const fields = list(data, 'producer');
    if (fields.length !== 9) throw new FieldError('a producer has nine fields');
    const producer = new Producer(text(fields[0], 'name'));
    producer.epoch = amount(fields[1], 'epoch');
    producer.instance = text(fields[2], 'instance');
    producer.window = amount(fields[3], 'window');
    producer.ephemeral = flag(fields[4], 'ephemeral');
    producer.last = amount(fields[5], 'last');
    producer.floor = amount(fields[6], 'floor');
    producer.usedMs = amount(fields[7], 'used');
    producer.#recent = list(fields[8], 'recent').map(item => amount(item, 'recent'));
    if (producer.window < 1 || producer.window > PRODUCER_WINDOW_MAX) throw new FieldError('a window is 1 to 64');
    if (producer.#recent.length % STRIDE !== 0 || producer.#recent.length > producer.window * STRIDE)
      throw new FieldError("a producer's recent batches do not fit its window");
    return producer;
  }
}

export class Producers {
  readonly #byName = new Map<string, Producer>();
  /** One bit per bucket that has changed since the last snapshot. */
  #dirty = 0;

  get size(): number {
    return this.#byName.size;
  }

  get(name: string): Producer | undefined {
    return this.#byName.get(name);
  }

  /** What is to be done with a batch; nothing changes before it is applied. */
  judge(batch: BatchIdentity): Verdict {
    const { sequence, prevSequence } = batch;
    const producer = this.#byName.get(batch.name);
    if (producer === undefined) return unknownFate('producer_unknown', `producer ${batch.name} is not open here`, { producer: batch.name });
    if (batch.epoch > producer.epoch)
      return unknownFate('producer_unknown', `epoch ${batch.epoch} of producer ${batch.name} is not open here`, { producer: batch.name });
    if (batch.epoch < producer.epoch || batch.instance !== producer.instance) return fenced(producer, sequence);
    if (prevSequence >= sequence)
      return fail('invalid_argument', `sequence ${sequence} does not follow ${prevSequence}`, { field: 'sequence' });
    if (prevSequence === producer.last) return ACCEPT;
    if (sequence <= producer.last) return repeat(producer, batch);
    return prevSequence > producer.last ? EARLY : outOfSequence(producer, sequence, prevSequence);
  }

  /** What is to be done with an opening. `offset` is where its entry would stand: for an unknown name no epoch was ever above it. */
  judgeOpening(
    opening: { name: string; epoch: number; instance: string; window: number; ephemeral: boolean },
    offset: number,
  ): OpeningVerdict {
    const { name, instance, ephemeral } = opening;
    const producer = this.#byName.get(name);
    if (opening.epoch > EPOCH_MAX) return fail('invalid_argument', `epoch ${opening.epoch} is too large`, { field: 'epoch' });
    if (producer !== undefined && producer.instance === instance && (opening.epoch === 0 || opening.epoch === producer.epoch))
      return { kind: 'same', producer };
    if (producer !== undefined && opening.epoch !== 0 && opening.epoch <= producer.epoch) return fenced(producer, 0);
    const epoch = opening.epoch !== 0 ? opening.epoch : producer === undefined ? offset + 1 : producer.epoch + 1;
    const window = Math.max(1, Math.min(opening.window || PRODUCER_WINDOW_MAX, PRODUCER_WINDOW_MAX));
    return { kind: 'epoch', record: { kind: 'producer', name, epoch, instance, window, ephemeral } };
  }

  applyOpening(record: ProducerRecord, nowMs: number): void {
    const producer = this.#ensure(record.name);
    assert(record.epoch > producer.epoch, 'epochs of a producer only grow');
    producer.begin(record, nowMs);
  }

  applyBatch(mark: ProducerMark, offset: number, count: number, crc: number, nowMs: number): void {
    const producer = this.#ensure(mark.name);
    if (producer.epoch === 0) {
      producer.epoch = mark.epoch;
      producer.instance = mark.instance;
      producer.floor = mark.prevSequence;
    }
    assert(mark.epoch === producer.epoch, 'nothing of a fenced epoch is in the log');
    assert(mark.sequence > producer.last, 'a sequence is accepted once');
    producer.keep(mark.sequence, offset, count, crc, nowMs);
  }

  expire(times: ExpireTimes): void {
    for (const producer of this.#byName.values()) {
      if (producer.usedMs >= (producer.ephemeral ? times.ephemeralMs : times.producersMs)) continue;
      this.#byName.delete(producer.name);
      this.#dirty |= 1 << bucketOf(producer.name);
    }
  }

  /** Would `expire` make room? */
  countIdle(times: ExpireTimes): number {
    let idle = 0;
    for (const producer of this.#byName.values())
      if (producer.usedMs < (producer.ephemeral ? times.ephemeralMs : times.producersMs)) idle++;
    return idle;
  }

  /** Bucket → changed; only buckets that have producers. */
  buckets(): ReadonlyMap<number, boolean> {
    const buckets = new Map<number, boolean>();
    for (const name of this.#byName.keys()) {
      const bucket = bucketOf(name);
      if (!buckets.has(bucket)) buckets.set(bucket, (this.#dirty & (1 << bucket)) !== 0);
    }
    return buckets;
  }

  /** The producers of one bucket as JSON; they count as unchanged from here on. */
  encode(bucket: number): readonly unknown[] {
    this.#dirty &= ~(1 << bucket);
    return this.peek(bucket);
  }

  peek(bucket: number): readonly unknown[] {
    const producers: unknown[] = [];
    for (const producer of this.#byName.values()) if (bucketOf(producer.name) === bucket) producers.push(producer.encode());
    return producers;
  }

  restore(data: unknown): void {
    for (const item of list(data, 'producers')) {
      const producer = Producer.decode(item);
      this.#byName.set(producer.name, producer);
    }
  }

  #ensure(name: string): Producer {
    let producer = this.#byName.get(name);
    if (producer === undefined) {
      producer = new Producer(name);
      this.#byName.set(name, producer);
    }
    this.#dirty |= 1 << bucketOf(name);
    return producer;
  }
}

function repeat(producer: Producer, batch: BatchIdentity): Verdict {
  const { sequence } = batch;
  const kept = producer.kept(sequence);
  if (kept !== undefined) {
    if (kept.crc === batch.crc) return { kind: 'repeat', offset: kept.offset, count: kept.count };
    return fail('sequence_reused', `sequence ${sequence} of producer ${producer.name} was used for other bytes`, {
      producer: producer.name,
    });
  }
  if (sequence > producer.floor) return outOfSequence(producer, sequence, batch.prevSequence);
  return unknownFate('sequence_too_old', `sequence ${sequence} of producer ${producer.name} is older than what is remembered`, {
    producer: producer.name,
    last: String(producer.last),
  });
}

function outOfSequence(producer: Producer, sequence: number, prevSequence: number): Failure {
  return fail(
    'out_of_sequence',
    `sequence ${sequence} of producer ${producer.name} follows ${prevSequence}, and the last accepted one is ${producer.last}`,
    { producer: producer.name, last: String(producer.last) },
  );
}

/** An older epoch's batch up to the last accepted one may have been stored before it was fenced. */
function fenced(producer: Producer, sequence: number): Failure {
  const message = `a newer epoch of producer ${producer.name} is open: ${producer.epoch}`;
  const detail = { producer: producer.name, epoch: String(producer.epoch) };
  return sequence > producer.last || sequence === 0 ? fail('fenced', message, detail) : unknownFate('fenced', message, detail);
}

function bucketOf(name: string): number {
  let hash = 0;
  for (let at = 0; at < name.length; at++) hash = (hash * 31 + name.charCodeAt(at)) | 0;
  return (hash >>> 0) % BUCKETS;
}
