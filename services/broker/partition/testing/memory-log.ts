// A partition's log in memory for tests: entries are acknowledged when the test says so, a crash keeps a prefix of what was pending, and the
// next owner opens what is left. Ledgers are cut where `roll` is called and at every opening.

import { assert } from '#lib/types/assert.ts';
import { ledgerId, type Offset, offset, type PartitionId, partitionId, topicId } from '#lib/types/brands.ts';
import { type Failure, fail } from '#lib/types/errors.ts';
import { entryAppendTimeMs, entryBaseOffset, entryCount, entryCumulativeCount, entryEnd } from '#lib/wire/entry.ts';
import type { LedgerSummary, LogEvents, PartitionLog } from '../../log/api.ts';

export const TEST_PARTITION: PartitionId = partitionId(topicId('01890000-0000-7000-8000-000000000001'), 0);

/** What outlives an owner: the durable entries. */
export class MemoryStorage {
  readonly partition: PartitionId;
  entries: Buffer[] = [];
  pending: Buffer[] = [];
  /** First offsets of ledgers, ascending. */
  ledgerFirsts: number[] = [];
  start = 0;
  owner: MemoryLog | null = null;
  full: false | 'space' | 'window' = false;
  /** Whole reads of the log, to see that caches work. */
  reads = 0;

  constructor(partition: PartitionId = TEST_PARTITION) {
    this.partition = partition;
  }

  get durableEnd(): number {
    const last = this.entries.at(-1);
    return last === undefined ? this.start : entryEnd(last);
  }

  get end(): number {
    const last = this.pending.at(-1);
    return last === undefined ? this.durableEnd : entryEnd(last);
  }

  /** The next owner: of what was in flight the first `surviving` entries are kept, and the old owner is told nothing but its loss. */
  open(events: LogEvents, surviving = this.pending.length): MemoryLog {
    const old = this.owner;
    this.entries.push(...this.pending.slice(0, surviving));
    this.pending = [];
    this.ledgerFirsts.push(this.durableEnd);
    this.owner = new MemoryLog(this, events);
    old?.lose();
    return this.owner;
  }

  /** The entry that covers `at`. */
  entryAt(at: number): Buffer | undefined {
    return this.entries.find(entry => entryBaseOffset(entry) <= at && at < entryEnd(entry));
  }
}

export class MemoryLog implements PartitionLog {
  readonly partition: PartitionId;
  readonly ballot = { epoch: 1, incarnation: '00000000000000aa' };
  readonly #storage: MemoryStorage;
  readonly #events: LogEvents;
  #lost = false;
  trims: number[] = [];

  constructor(storage: MemoryStorage, events: LogEvents) {
    this.#storage = storage;
    this.#events = events;
    this.partition = storage.partition;
  }

  get start(): Offset {
    return offset(this.#storage.start);
  }

  get end(): Offset {
    return offset(this.#storage.end);
  }

  get ackedEnd(): Offset {
    return offset(this.#storage.durableEnd);
  }

  isFull(): false | 'space' | 'window' {
    return this.#storage.full;
  }

  append(entry: Buffer, span: number, _reserved: boolean): void {
    assert(!this.#lost, 'a log that is lost takes nothing');
    assert(entryBaseOffset(entry) === this.#storage.end, 'an entry begins at the end');
    assert(entryEnd(entry) === this.#storage.end + span, 'an entry has the span that is said');
    this.#storage.pending.push(entry);
  }

  /** The first `count` pending entries become durable, and the owner is told. */
  acknowledge(count = this.#storage.pending.length): void {
    if (this.#lost || count === 0) return;
    this.#storage.entries.push(...this.#storage.pending.splice(0, count));
    this.#events.onAcked(this.ackedEnd);
  }

  async read(from: Offset, bytesMax: number): Promise<readonly Buffer[] | Failure> {
    await null;
    const { entries, start } = this.#storage;
    this.#storage.reads++;
    if (from < start) return fail('invalid_argument', `the log begins at ${start}`);
    let at = lowerBound(entries, from);
    const found: Buffer[] = [];
    let bytes = 0;
    for (let entry = entries[at]; entry !== undefined && (bytes === 0 || bytes + entry.length <= bytesMax); entry = entries[++at]) {
      found.push(entry);
      bytes += entry.length;
    }
    return found;
  }

  async locate(by: 'time' | 'count', value: number): Promise<Offset | null | Failure> {
    await null;
    for (const entry of this.#storage.entries) {
      if (entryBaseOffset(entry) < this.#storage.start) continue;
      const found = by === 'time' ? entryAppendTimeMs(entry) >= value : entryCumulativeCount(entry) + entryCount(entry) > value;
      if (found) return offset(entryBaseOffset(entry));
    }
    return null;
  }

  ledgers(): readonly LedgerSummary[] {
    const { ledgerFirsts, entries } = this.#storage;
    return ledgerFirsts.flatMap((first, index) => {
      const end = ledgerFirsts[index + 1] ?? null;
      if (end !== null && end <= this.#storage.start && end > first) return [];
      const inside = entries.filter(entry => entryBaseOffset(entry) >= first && (end === null || entryBaseOffset(entry) < end));
      const last = inside.at(-1);
      return {
        ledger: ledgerId(`01890000-0000-7000-8000-${String(index).padStart(12, '0')}`),
        first: offset(first),
        end: end === null ? null : offset(end),
        bytes: inside.reduce((sum, entry) => sum + entry.length, 0),
        lastAppendTimeMs: last === undefined ? null : entryAppendTimeMs(last),
      };
    });
  }

  /** Rolls at the acknowledged end; pending entries go to the next ledger. */
  roll(): void {
    if (this.#storage.durableEnd > (this.#storage.ledgerFirsts.at(-1) ?? 0)) this.#storage.ledgerFirsts.push(this.#storage.durableEnd);
  }

  async trim(to: Offset): Promise<void> {
    await null;
    this.trims.push(to);
    this.#storage.start = Math.max(this.#storage.start, to);
    this.#storage.entries = this.#storage.entries.filter(entry => entryEnd(entry) > this.#storage.start);
  }

  async purge(): Promise<void> {
    await null;
    this.#lost = true;
    this.#storage.entries = [];
  }

  async close(): Promise<void> {
    await null;
    this.#lost = true;
  }

  /** Another owner has the partition. */
  lose(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#events.onLost(fail('not_owner', 'another broker has the partition'));
  }
}

/** Index of the entry that covers `from`. */
function lowerBound(entries: readonly Buffer[], from: number): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const entry = entries[middle];
    if (entry !== undefined && entryEnd(entry) <= from) low = middle + 1;
    else high = middle;
  }
  return low;
}
