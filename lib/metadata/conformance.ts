// The suite that every implementation of the metadata port runs: `metadataConformance('memory', open)`. It knows the port and nothing of
// what is behind it.

import { afterEach, describe, expect, test, vi } from 'vitest';
import type { LedgerDescriptor } from '#lib/ledger/protocol.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import { bookieId, type LedgerId, ledgerId, type Offset, offset, type PartitionId, partitionId, topicId } from '#lib/types/brands.ts';
import { type CursorBlock, type MetadataChange, MetadataError, type MetadataStore } from './store.ts';

const TOPIC = topicId('018f0000-0000-7000-8000-000000000001');
const P0 = partitionId(TOPIC, 0);
const P1 = partitionId(TOPIC, 1);

export const ballotAt = (epoch: number, incarnation = 'aaaaaaaaaaaaaaaa'): Ballot => ({ epoch, incarnation });

export function ledgerAt(n: number): LedgerId {
  return ledgerId(`018f0000-0000-7000-8000-${String(n).padStart(12, '0')}`);
}

export function descriptorAt(n: number, partition: PartitionId = P0): LedgerDescriptor {
  return {
    ledger: ledgerAt(n),
    partition,
    topic: TOPIC,
    prev: n === 1 ? null : ledgerAt(n - 1),
    ensemble: [bookieId('0'.repeat(31) + n), bookieId('f'.repeat(32))],
    ackQuorum: 1,
    creator: ballotAt(n),
  };
}

export function blockAt(resetEpoch: number, markDelete: number | null, ...ranges: [number, number][]): CursorBlock {
  return {
    resetEpoch: offset(resetEpoch),
    markDelete: markDelete === null ? null : offset(markDelete),
    ranges: ranges.map(([first, end]): [Offset, Offset] => [offset(first), offset(end)]),
  };
}

const cursor = (subscription: string, blocks: Record<string, CursorBlock | null>, partition = P0) => ({
  partition,
  subscription,
  blocks: new Map(Object.entries(blocks)),
});

/** `open` gives an empty store; each test gets its own and closes it. */
export function metadataConformance(name: string, open: () => Promise<MetadataStore>): void {
  describe(`metadata store: ${name}`, () => {
    const opened: MetadataStore[] = [];
    const fresh = async () => {
      const store = await open();
      opened.push(store);
      return store;
    };
    afterEach(async () => {
      for (const store of opened.splice(0)) await store.close();
    });
    describeEpochs(fresh);
    describeClaims(fresh);
    describeHeads(fresh);
    describeCursors(fresh);
    describeRecords(fresh);
    describeWatch(fresh);
    describeEnd(fresh);
  });
}

type Fresh = () => Promise<MetadataStore>;

function describeEpochs(fresh: Fresh): void {
  test('an epoch is one more than what was counted or named, per partition, and never comes twice', async () => {
    const store = await fresh();
    expect(await store.nextEpoch(P0, 0)).toBe(1);
    expect(await store.nextEpoch(P0, 0)).toBe(2);
    expect(await store.nextEpoch(P0, 10)).toBe(11);
    expect(await store.nextEpoch(P0, 3)).toBe(12);
    expect(await store.nextEpoch(P1, 0)).toBe(1);
    const many = await Promise.all(Array.from({ length: 50 }, () => store.nextEpoch(P1, 0)));
    expect(new Set(many).size).toBe(50);
  });
}

function describeClaims(fresh: Fresh): void {
  test('a claim wins by its ballot; a lower one is told who has it', async () => {
    const store = await fresh();
    const first = { ballot: ballotAt(5, 'bbbbbbbbbbbbbbbb'), broker: 'one' };
    expect(await store.readClaim(P0)).toBeNull();
    expect(await store.claim(P0, first, 'o1')).toEqual({ kind: 'stored' });
    expect(await store.readClaim(P0)).toEqual(first);
    expect(await store.readClaim(P1)).toBeNull();
    expect(await store.claim(P0, { ballot: ballotAt(4, 'ffffffffffffffff'), broker: 'two' }, 'o2')).toEqual({
      kind: 'lost',
      current: first,
    });
    expect(await store.claim(P0, { ballot: ballotAt(5, 'aaaaaaaaaaaaaaaa'), broker: 'two' }, 'o3')).toEqual({
      kind: 'lost',
      current: first,
    });
    const higher = { ballot: ballotAt(5, 'cccccccccccccccc'), broker: 'two' };
    expect(await store.claim(P0, higher, 'o4')).toEqual({ kind: 'stored' });
    expect(await store.claim(P0, higher, 'o5'), 'the same act again, under another operation').toEqual({ kind: 'stored' });
    expect(await store.readClaim(P0)).toEqual(higher);
  });

  test('a retry whose first answer was lost is answered as the first, and does not undo what came between', async () => {
    const store = await fresh();
    await store.claim(P0, { ballot: ballotAt(1), broker: 'one' }, 'mine');
    const later = { ballot: ballotAt(2), broker: 'two' };
    await store.claim(P0, later, 'theirs');
    expect(await store.claim(P0, { ballot: ballotAt(1), broker: 'one' }, 'mine')).toEqual({ kind: 'stored' });
    expect(await store.readClaim(P0)).toEqual(later);
    expect((await store.claim(P1, { ballot: ballotAt(1), broker: 'one' }, 'mine')).kind, 'another subject is another operation').toBe(
      'stored',
    );
    expect(await store.readClaim(P1)).not.toBeNull();
  });
}

function describeHeads(fresh: Fresh): void {
  test('a head comes back whole, and the chain only grows', async () => {
    const store = await fresh();
    const one = { descriptor: descriptorAt(1), first: offset(0) };
    const two = { descriptor: descriptorAt(2), first: offset(100) };
    const three = { descriptor: descriptorAt(3), first: offset(100) };
    expect(await store.readHead(P0)).toBeNull();
    expect(await store.putHead(P0, one, ballotAt(1), 'o1')).toEqual({ kind: 'stored' });
    expect(await store.putHead(P0, two, ballotAt(1), 'o2')).toEqual({ kind: 'stored' });
    expect(await store.readHead(P0)).toEqual(two);
    expect(await store.putHead(P0, one, ballotAt(2), 'o3'), 'a lower first offset').toEqual({ kind: 'lost', current: two });
    expect(await store.putHead(P0, three, ballotAt(2), 'o4'), 'the successor of an empty ledger').toEqual({ kind: 'stored' });
    const late = { descriptor: descriptorAt(4), first: offset(500) };
    expect(await store.putHead(P0, late, ballotAt(1), 'o5'), 'a late writer').toEqual({ kind: 'lost', current: three });
    expect(await store.putHead(P0, two, ballotAt(1), 'o2'), 'a retry').toEqual({ kind: 'stored' });
    expect(await store.readHead(P0)).toEqual(three);
    expect(await store.readHead(P1)).toBeNull();
  });
}

function describeCursors(fresh: Fresh): void {
  test('blocks come back as they were written, and only those that changed are written', async () => {
    const store = await fresh();
    expect(await store.readCursor(P0, 's')).toEqual(new Map());
    const a = blockAt(7, 20, [25, 26], [30, 40]);
    const b = blockAt(7, null, [2 ** 52, 2 ** 52 + 1]);
    await store.putCursors([cursor('s', { a, b }), cursor('t', { a: blockAt(9, 1) }), cursor('s', { a: blockAt(1, 2) }, P1)]);
    expect(await store.readCursor(P0, 's')).toEqual(new Map(Object.entries({ a, b })));
    await store.putCursors([cursor('s', { a: null, b: blockAt(7, 3) })]);
    expect(await store.readCursor(P0, 's')).toEqual(new Map([['b', blockAt(7, 3)]]));
    expect(await store.readCursor(P0, 't')).toEqual(new Map([['a', blockAt(9, 1)]]));
    expect(await store.readCursor(P1, 's')).toEqual(new Map([['a', blockAt(1, 2)]]));
  });

  test('a block of an older reset does not take the place of a newer one; within a reset the last write counts', async () => {
    const store = await fresh();
    await store.putCursors([cursor('s', { a: blockAt(50, 60) })]);
    await store.putCursors([cursor('s', { a: blockAt(40, 90) })]);
    expect(await store.readCursor(P0, 's')).toEqual(new Map([['a', blockAt(50, 60)]]));
    await store.putCursors([cursor('s', { a: blockAt(50, 55) })]);
    expect(await store.readCursor(P0, 's')).toEqual(new Map([['a', blockAt(50, 55)]]));
    await store.putCursors([cursor('s', { a: blockAt(51, 0) })]);
    expect(await store.readCursor(P0, 's')).toEqual(new Map([['a', blockAt(51, 0)]]));
  });

  test('a dropped cursor is gone, others stay; calls that follow each other keep their order', async () => {
    const store = await fresh();
    const many = Array.from({ length: 300 }, (_, n) => cursor(`s${n}`, { a: blockAt(1, n) }));
    const calls = [store.putCursors(many), store.dropCursor(P0, 's299'), store.readCursor(P0, 's298'), store.readCursor(P0, 's299')];
    const [, , kept, dropped] = await Promise.all(calls);
    expect(kept).toEqual(new Map([['a', blockAt(1, 298)]]));
    expect(dropped).toEqual(new Map());
    await store.dropCursor(P0, 'never was');
  });

  test('no update at all is fine', async () => {
    const store = await fresh();
    await store.putCursors([]);
    await store.putCursors([cursor('s', {})]);
    expect(await store.readCursor(P0, 's')).toEqual(new Map());
  });

  test('ten thousand partitions in one call', async () => {
    const store = await fresh();
    const partitions = Array.from({ length: 10_000 }, (_, n) => partitionId(TOPIC, n));
    await store.putCursors(partitions.map((partition, n) => cursor('s', { a: blockAt(1, n) }, partition)));
    for (const n of [0, 63, 64, 5_000, 9_999]) {
      expect(await store.readCursor(partitionId(TOPIC, n), 's')).toEqual(new Map([['a', blockAt(1, n)]]));
    }
  });

  test('a dropped partition is forgotten whole, and only that one', async () => {
    const store = await fresh();
    for (const partition of [P0, P1]) {
      await store.nextEpoch(partition, 7);
      await store.claim(partition, { ballot: ballotAt(8), broker: 'b' }, 'c');
      await store.putHead(partition, { descriptor: descriptorAt(1, partition), first: offset(0) }, ballotAt(8), 'h');
      await store.putCursors([cursor('s', { a: blockAt(1, 2) }, partition)]);
    }
    await store.dropPartition(P0);
    expect([await store.readClaim(P0), await store.readHead(P0), (await store.readCursor(P0, 's')).size]).toEqual([null, null, 0]);
    expect(await store.nextEpoch(P0, 0)).toBe(1);
    expect([(await store.readClaim(P1))?.broker, (await store.readCursor(P1, 's')).size, await store.nextEpoch(P1, 0)]).toEqual([
      'b',
      1,
      9,
    ]);
  });
}

function describeRecords(fresh: Fresh): void {
  test('a record is compared by its version: 0 creates, each write adds one', async () => {
    const store = await fresh();
    expect(await store.readRecord('cluster')).toBeNull();
    expect(await store.putRecord('cluster', Buffer.from('x'), 3, 'o1'), 'there is none of version 3').toEqual({
      kind: 'lost',
      current: null,
    });
    expect(await store.putRecord('cluster', Buffer.from('one'), 0, 'o2')).toEqual({ kind: 'stored' });
    expect(await store.readRecord('cluster')).toEqual({ value: Buffer.from('one'), version: 1 });
    const lost = { kind: 'lost', current: { value: Buffer.from('one'), version: 1 } };
    expect(await store.putRecord('cluster', Buffer.from('other'), 0, 'o3')).toEqual(lost);
    expect(await store.putRecord('cluster', Buffer.alloc(0), 1, 'o4')).toEqual({ kind: 'stored' });
    expect(await store.putRecord('cluster', Buffer.alloc(0), 1, 'o4'), 'a retry').toEqual({ kind: 'stored' });
    expect(await store.readRecord('cluster')).toEqual({ value: Buffer.alloc(0), version: 2 });
  });

  test('bytes are kept as they are, and are not shared with the caller', async () => {
    const store = await fresh();
    const value = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
    const sent = Buffer.from(value);
    await store.putRecord('k', sent, 0, 'o');
    sent.fill(0);
    const read = await store.readRecord('k');
    expect(read?.value.equals(value)).toBe(true);
    read?.value.fill(1);
    expect((await store.readRecord('k'))?.value.equals(value)).toBe(true);
  });

  test('records are listed by prefix, sorted', async () => {
    const store = await fresh();
    for (const key of ['a/2', 'a/1', 'a', 'b/1', 'a%', 'a/']) await store.putRecord(key, Buffer.from(key), 0, `o${key}`);
    expect((await store.listRecords('a/')).map(record => [record.key, record.value.toString(), record.version])).toEqual([
      ['a/', 'a/', 1],
      ['a/1', 'a/1', 1],
      ['a/2', 'a/2', 1],
    ]);
    expect((await store.listRecords('')).map(record => record.key)).toEqual(['a', 'a%', 'a/', 'a/1', 'a/2', 'b/1']);
    expect(await store.listRecords('c')).toEqual([]);
  });
}

function describeWatch(fresh: Fresh): void {
  test('a watcher is told of claims, heads and records under its prefix, later and not within the write', async () => {
    const store = await fresh();
    const seen: MetadataChange[] = [];
    const all: MetadataChange[] = [];
    store.watch(`${TOPIC}/0`, change => seen.push(change));
    store.watch('', change => all.push(change));
    const writes = [
      store.claim(P0, { ballot: ballotAt(1), broker: 'b' }, 'c'),
      store.claim(P1, { ballot: ballotAt(1), broker: 'b' }, 'c'),
      store.putHead(P0, { descriptor: descriptorAt(1), first: offset(0) }, ballotAt(1), 'h'),
      store.putRecord('k', Buffer.from('v'), 0, 'r'),
    ];
    expect(all).toEqual([]);
    await Promise.all(writes);
    await vi.waitFor(() => expect(all).toHaveLength(4), 2_000);
    expect(new Set(seen.map(change => JSON.stringify(change)))).toEqual(
      new Set([JSON.stringify({ kind: 'claim', partition: P0 }), JSON.stringify({ kind: 'head', partition: P0 })]),
    );
    expect(all).toContainEqual({ kind: 'record', key: 'k' });
  });

  test('a write that lost is no change, and a watch that was ended hears nothing', async () => {
    const store = await fresh();
    const first: MetadataChange[] = [];
    const second: MetadataChange[] = [];
    const before: MetadataChange[] = [];
    const endBefore = store.watch('', change => before.push(change));
    await store.putRecord('k', Buffer.from('v'), 0, 'r1');
    await vi.waitFor(() => expect(before).toHaveLength(1), 2_000);
    endBefore();
    const end = store.watch('', change => first.push(change));
    store.watch('', change => second.push(change));
    await store.putRecord('k', Buffer.from('w'), 0, 'r2');
    end();
    await store.putRecord('l', Buffer.from('w'), 0, 'r3');
    await vi.waitFor(() => expect(second).toEqual([{ kind: 'record', key: 'l' }]), 2_000);
    expect(first).toEqual([]);
  });
}

function describeEnd(fresh: Fresh): void {
  test('after close every call is refused, and close may come twice', async () => {
    const store = await fresh();
    await store.putRecord('k', Buffer.from('v'), 0, 'r');
    await store.close();
    await store.close();
    for (const call of [
      () => store.nextEpoch(P0, 0),
      () => store.readClaim(P0),
      () => store.readHead(P0),
      () => store.putCursors([cursor('s', { a: blockAt(1, 1) })]),
      () => store.readCursor(P0, 's'),
      () => store.readRecord('k'),
      () => store.listRecords(''),
    ]) {
      await expect(call()).rejects.toBeInstanceOf(MetadataError);
    }
  });
}
