// One partition over a log in memory, a metadata store in memory and a clock that the test moves: what tests of this folder share.

import { MemoryStore } from '#lib/metadata/memory.ts';
import type { MetadataStore } from '#lib/metadata/store.ts';
import type { Clock, Logger } from '#lib/runtime/ports.ts';
import { type SimWorld, simWorld } from '#lib/runtime/sim/world.ts';
import { assert } from '#lib/types/assert.ts';
import type { Offset } from '#lib/types/brands.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { entryBaseOffset, entryCount, entryPayload } from '#lib/wire/entry.ts';
import { ReadAhead } from '../../cache/read-ahead.ts';
import { TailCache } from '../../cache/tail-cache.ts';
import type { LogEvents, PartitionLog } from '../../log/api.ts';
import type { BatchInput, ConsumerIdentity, ConsumerSession, ConsumerSink, EffectivePolicies, StoredBatch } from '../api.ts';
import { CursorWriter } from '../cursor-writer.ts';
import { type OpenPartition, openPartition } from '../partition.ts';
import { PARTITION_DEFAULTS, type PartitionSettings } from '../settings.ts';
import { MemoryStorage } from './memory-log.ts';

export const FOREVER: EffectivePolicies = { retentionMs: -1, backlogBytesMax: -1, dedupWindowMs: 600_000 };

export interface Harness {
  readonly world: SimWorld;
  readonly storage: MemoryStorage;
  readonly metadata: MemoryStore;
  readonly cursorWriter: CursorWriter;
  readonly tailCache: TailCache;
  readonly settings: PartitionSettings;
  partition: OpenPartition;
  /** Lets everything happen that needs no time, without acknowledging. */
  settle(): Promise<void>;
  /** Acknowledges all that is pending, again and again, until nothing is. */
  flush(): Promise<void>;
  advance(ms: number): Promise<void>;
  /** The next owner takes over; of what is in flight the first `surviving` entries are kept. */
  takeOver(surviving?: number): Promise<OpenPartition | Failure>;
}

/** What a test may replace before the partition is opened. */
export interface Wrapped {
  readonly storage: MemoryStorage;
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  /** Those of the newest log. */
  events(): LogEvents | null;
  wrapLog(log: PartitionLog): PartitionLog;
}

export interface HarnessOptions {
  readonly wrap?: (wrapped: Wrapped) => Wrapped;
  readonly seed?: number;
  readonly settings?: Partial<PartitionSettings>;
  readonly policies?: EffectivePolicies;
  readonly logger?: Logger;
  readonly tailBytes?: number;
  readonly readAheadBytes?: number;
}

export async function openHarness(options: HarnessOptions = {}): Promise<Harness> {
  const world = simWorld(options.seed ?? 1, options.logger === undefined ? {} : { logger: options.logger });
  const storage = new MemoryStorage();
  const metadata = new MemoryStore(world.clock);
  const settings = { ...PARTITION_DEFAULTS, ...options.settings };
  const latest: { events: LogEvents | null } = { events: null };
  const plain: Wrapped = { storage, metadata, clock: world.clock, events: () => latest.events, wrapLog: log => log };
  const wrapped = options.wrap?.(plain) ?? plain;
  const cursorWriter = new CursorWriter(world, wrapped.metadata);
  const tailCache = new TailCache(options.tailBytes ?? 1 << 20);
  const readAhead = new ReadAhead(options.readAheadBytes ?? 1 << 20);
  const open = (surviving?: number) =>
    openPartition({
      world,
      partition: storage.partition,
      openLog: async events => {
        latest.events = events;
        return wrapped.wrapLog(storage.open(events, surviving));
      },
      metadata: wrapped.metadata,
      tailCache,
      readAhead,
      cursorWriter,
      policies: options.policies ?? FOREVER,
      settings,
    });
  const settle = () => world.clock.advanceSettled(0, 60);
  const flush = async () => {
    do {
      storage.owner?.acknowledge();
      await settle();
    } while (storage.pending.length > 0);
  };
  const partition = await open();
  assert(!isFailure(partition), 'a fresh partition opens');
  const harness: Harness = {
    world,
    storage,
    metadata,
    cursorWriter,
    tailCache,
    settings,
    partition,
    settle,
    flush,
    advance: ms => world.clock.advanceSettled(ms, 60),
    async takeOver(surviving) {
      const next = await open(surviving);
      if (!isFailure(next)) harness.partition = next;
      await settle();
      return next;
    },
  };
  return harness;
}

/** A batch whose messages are `values`, one per byte string; not a real protobuf batch, which partitions never look into. */
export function batchOf(values: readonly string[], more: Partial<BatchInput> = {}): BatchInput {
  const batchView = Buffer.from(values.join('\n'));
  return {
    producer: null,
    sequence: 0,
    prevSequence: 0,
    idempotencyId: '',
    info: { view: Buffer.from([8, values.length]), count: values.length, codec: 0, keyHashes: 0 },
    batchView,
    crc: crc32c(batchView),
    ...more,
  };
}

export const INSTANCE = '00000000000000a1';

export function inOrder(name: string, epoch: number, sequence: number, prevSequence: number, values: readonly string[]): BatchInput {
  return batchOf(values, { producer: { name, epoch, instance: INSTANCE }, sequence, prevSequence });
}

/** Messages of an entry that a delivery means. */
export function valuesOf(entry: Buffer, ranges: readonly (readonly [number, number])[] = []): { offset: number; value: string }[] {
  const values = entryPayload(entry).toString().split('\n');
  const base = entryBaseOffset(entry);
  const meant = ranges.length === 0 ? [[0, entryCount(entry)] as const] : ranges;
  return meant.flatMap(([first, count]) => values.slice(first, first + count).map((value, n) => ({ offset: base + first + n, value })));
}

export interface Received {
  readonly offset: number;
  readonly value: string;
  readonly resetEpoch: Offset;
}

/** A consumer's stream that keeps what it gets. */
export class TestSink implements ConsumerSink {
  readonly got: Received[] = [];
  full = false;
  over: Failure | null = null;

  isFull(): boolean {
    return this.full;
  }

  deliver(entry: Buffer, ranges: readonly (readonly [number, number])[], resetEpoch: Offset): void {
    for (const { offset, value } of valuesOf(entry, ranges)) this.got.push({ offset, value, resetEpoch });
  }

  detached(reason: Failure): void {
    this.over = reason;
  }

  get values(): string[] {
    return this.got.map(({ value }) => value);
  }
}

/** Tells of every message at once and keeps none. */
export class ModelSink implements ConsumerSink {
  readonly #onMessage: (received: Received) => void;
  readonly #onOver: () => void;

  constructor(onMessage: (received: Received) => void, onOver: () => void) {
    this.#onMessage = onMessage;
    this.#onOver = onOver;
  }

  isFull(): boolean {
    return false;
  }

  deliver(entry: Buffer, ranges: readonly (readonly [number, number])[], resetEpoch: Offset): void {
    for (const { offset, value } of valuesOf(entry, ranges)) this.#onMessage({ offset, value, resetEpoch });
  }

  detached(reason: Failure): void {
    if (reason.code !== 'consumer_replaced') this.#onOver();
  }
}

export function consumerNamed(name: string, instance = '1', epoch = 0): ConsumerIdentity {
  return { name, instance, epoch, address: '10.0.0.1:9', client: 'test' };
}

/** Attaches, with credit without end unless it is given. */
export async function attach(
  harness: Harness,
  subscription: string,
  sink: ConsumerSink,
  options: { readonly consumer?: ConsumerIdentity; readonly credit?: number; readonly start?: 'earliest' | 'latest' } = {},
): Promise<ConsumerSession | Failure> {
  const attaching = harness.partition.attach(
    {
      subscription,
      type: 1,
      consumer: options.consumer ?? consumerNamed('c'),
      start: { kind: options.start ?? 'earliest' },
      mustExist: false,
    },
    sink,
  );
  await harness.settle();
  await harness.flush();
  const session = await attaching;
  if (!isFailure(session)) session.addCredit(options.credit ?? 1e9, 1e12);
  return session;
}

export async function publish(harness: Harness, batch: BatchInput): Promise<StoredBatch | Failure> {
  let result: StoredBatch | Failure | null = null;
  harness.partition.publish(batch, answer => {
    result = answer;
  });
  await harness.flush();
  assert(result !== null, 'a publish is answered once all is acknowledged');
  return result;
}
