import { describe, expect, it } from 'vitest';
import { nullLogger } from '#lib/runtime/loggers.ts';
import type { Clock } from '#lib/runtime/ports.ts';
import { type PartitionId, partitionId, topicId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import type { OwnedPartition } from '../partition/partition.ts';
import { Partitions, type PartitionsLimits } from './partitions.ts';

const id = (n: number): PartitionId => partitionId(topicId('01890000-0000-7000-8000-000000000001'), n);

/** What `Partitions` uses of one. */
class FakePartition {
  idle = true;
  closed = 0;
  maintained = 0;
  release: (() => void) | null = null;
  purged = 0;

  isIdle(): boolean {
    return this.idle;
  }
  maintain(): void {
    this.maintained += 1;
  }
  async close(): Promise<void> {
    this.closed += 1;
    this.release?.();
  }
  purge(): Promise<void> {
    this.purged += 1;
    return new Promise(resolve => {
      this.release = resolve;
    });
  }
  setPolicies(): void {}
}

class Harness {
  nowMs = 0;
  readonly made = new Map<PartitionId, FakePartition[]>();
  readonly ended = new Map<PartitionId, (reason: Failure) => void>();
  opens = 0;
  opening = 0;
  mostOpening = 0;
  refusal: Failure | null = null;
  hold: Promise<void> | null = null;
  readonly partitions: Partitions;

  constructor(limits: Partial<PartitionsLimits> = {}) {
    const clock: Clock = {
      now: () => this.nowMs,
      monotonic: () => this.nowMs,
      after: () => ({ cancel: () => {} }),
      soon: run => setImmediate(run),
    };
    this.partitions = new Partitions({
      clock,
      logger: nullLogger(),
      open: (partition, onEnded) => this.#open(partition, onEnded),
      limits: { openMax: 3, idleCloseMs: 100, openingMax: 2, ...limits },
    });
  }

  async #open(partition: PartitionId, onEnded: (reason: Failure) => void): Promise<OwnedPartition | Failure> {
    this.opens += 1;
    this.opening += 1;
    this.mostOpening = Math.max(this.mostOpening, this.opening);
    await (this.hold ?? new Promise(resolve => setImmediate(resolve)));
    this.opening -= 1;
    if (this.refusal) return this.refusal;
    const fake = new FakePartition();
    this.made.set(partition, [...(this.made.get(partition) ?? []), fake]);
    this.ended.set(partition, onEnded);
    return fake as unknown as OwnedPartition;
  }

  async lease(n: number, closed: Failure[] = []) {
    const lease = await this.partitions.lease(id(n), reason => closed.push(reason));
    if (isFailure(lease)) throw new Error(lease.code);
    return lease;
  }

  maintain(nowMs: number): void {
    this.nowMs = nowMs;
    this.partitions.maintain(nowMs);
  }

  newest(n: number): FakePartition {
    const fake = this.made.get(id(n))?.at(-1);
    if (!fake) throw new Error('never opened');
    return fake;
  }
}

const settle = () => new Promise(resolve => setImmediate(resolve));

describe('partitions', () => {
  it('open once for all who come at the same time, a few at a time', async () => {
    const harness = new Harness({ openMax: 100 });
    const leases = await Promise.all(Array.from({ length: 40 }, (_, i) => harness.lease(i % 10)));
    expect(harness.opens).toBe(10);
    expect(harness.mostOpening).toBe(2);
    expect(new Set(leases.map(lease => lease.partition)).size).toBe(10);
  });

  it('give everybody who waits the refusal, and try again for the next', async () => {
    const harness = new Harness();
    harness.refusal = fail('storage_unavailable', 'no bookie');
    const answers = await Promise.all([1, 1, 1].map(n => harness.partitions.lease(id(n), () => {})));
    expect(answers.every(answer => isFailure(answer) && answer.code === 'storage_unavailable')).toBe(true);
    expect(harness.partitions.size).toBe(0);
    harness.refusal = null;
    await harness.lease(1);
  });

  it('are closed when nobody has used them for a while, and not before they are at rest', async () => {
    const harness = new Harness();
    const lease = await harness.lease(1);
    const partition = harness.newest(1);
    harness.maintain(1_000);
    expect(partition.closed).toBe(0);
    lease.release();
    partition.idle = false;
    harness.maintain(2_000);
    expect(partition.closed).toBe(0);
    partition.idle = true;
    harness.maintain(2_001);
    expect(partition.closed).toBe(1);
    const again = await harness.lease(1);
    expect(again.partition).not.toBe(lease.partition);
    expect(partition.maintained).toBe(3);
  });

  it('make room: the one unused for longest goes first; with all in use the next are refused', async () => {
    const harness = new Harness();
    for (const n of [1, 2, 3]) {
      harness.nowMs += 1;
      (await harness.lease(n)).release();
    }
    await harness.lease(4);
    expect([1, 2, 3].map(n => harness.newest(n).closed)).toEqual([1, 0, 0]);
    const held = [await harness.lease(2), await harness.lease(3), await harness.lease(5), await harness.lease(6)];
    await settle();
    await harness.lease(7);
    expect(await harness.partitions.lease(id(8), () => {})).toMatchObject({ code: 'overloaded', stored: 'no' });
    held[0]?.release();
    await harness.lease(8);
    expect(harness.newest(2).closed).toBe(1);
  });

  it('tell everybody who uses one when it ends by itself, once', async () => {
    const harness = new Harness();
    const closed: Failure[] = [];
    const [first] = [await harness.lease(1, closed), await harness.lease(1, closed)];
    const reason = fail('not_owner', 'moved');
    harness.ended.get(id(1))?.(reason);
    harness.ended.get(id(1))?.(reason);
    first?.release();
    expect(closed).toEqual([reason, reason]);
    expect(harness.partitions.size).toBe(0);
    await harness.lease(1);
    expect(harness.opens).toBe(2);
  });

  it('are purged with word to everybody; a stop does not wait for a purge that cannot end', async () => {
    const harness = new Harness();
    const closed: Failure[] = [];
    await harness.lease(1, closed);
    const deleted = fail('topic_not_found', 'deleted');
    const purged = harness.partitions.purge(id(1), deleted);
    await settle();
    expect(closed).toEqual([deleted]);
    expect(harness.newest(1).purged).toBe(1);
    await harness.partitions.close();
    expect(await purged).toBeNull();
  });

  it('hand over all at a stop, also those that are just being opened, and open none after it', async () => {
    const harness = new Harness({ openMax: 100 });
    const closed: Failure[] = [];
    await harness.lease(1, closed);
    let go = (): void => {};
    harness.hold = new Promise(resolve => {
      go = resolve;
    });
    const late = harness.partitions.lease(id(2), () => {});
    const queued = [3, 4, 5].map(n => harness.partitions.lease(id(n), () => {}));
    await settle();
    const end = harness.partitions.close();
    go();
    await end;
    expect(closed).toMatchObject([{ code: 'unavailable' }]);
    expect(harness.newest(1).closed).toBe(1);
    expect(await late).toMatchObject({ code: 'unavailable' });
    for (const lease of queued) expect(await lease).toMatchObject({ code: 'unavailable' });
    expect([...harness.made.values()].flat().every(partition => partition.closed === 1)).toBe(true);
    expect(await harness.partitions.lease(id(1), () => {})).toMatchObject({ code: 'unavailable' });
  });
});
