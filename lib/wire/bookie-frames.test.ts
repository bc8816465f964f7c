import { describe, expect, test } from 'vitest';
import type { BookieReply, BookieRequest, LedgerDescriptor, ReplicaState, SealValue } from '#lib/ledger/protocol.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { bookieId, ledgerId, offset, partitionId, topicId } from '#lib/types/brands.ts';
import { decodeReply, decodeRequest, encodeReply, encodeRequest, FRAME_BYTES_MIN } from './bookie-frames.ts';
import type { ServerMessage } from './bookie-replies.ts';
import type { ClientMessage } from './bookie-requests.ts';
import { crc32c as crc } from './crc32c.ts';
import { encodeEntry } from './entry.ts';
import { FrameParser } from './frame-parser.ts';

const topic = topicId('0192f000-0000-7000-8000-000000000001');
const partition = partitionId(topic, 7);
const ledger = ledgerId('0192f000-0000-7000-8000-100000000001');
const prev = ledgerId('0192f000-0000-7000-8000-100000000000');
const bookie = bookieId('00112233445566778899aabbccddeeff');
const ballot = { epoch: 5, incarnation: '0123456789abcdef' };
const descriptor: LedgerDescriptor = { ledger, partition, topic, prev, ensemble: [bookie, bookie], ackQuorum: 2, creator: ballot };
const first: LedgerDescriptor = { ...descriptor, prev: null };
const value: SealValue = { end: offset(2 ** 52), next: descriptor };
const last: SealValue = { end: offset(9), next: null };
const header = { kind: 'batch', baseOffset: 3, count: 2, cumulativeCount: 3, appendTimeMs: 4, checkpointOffset: -1 } as const;
const bytes = encodeEntry(header, [Buffer.from('meta')], Buffer.from('payload'), 1);
const state: ReplicaState = {
  descriptor,
  promised: ballot,
  first: offset(1),
  end: offset(9),
  ackedEnd: offset(8),
  accepted: { ballot, ...value },
  decided: last,
  bytes: 77,
};
const bare: ReplicaState = { ...state, first: null, end: null, ackedEnd: null, accepted: null, decided: null, bytes: 0 };
const floor = { offset: offset(4), firstLive: ledger };

const REQUESTS: readonly BookieRequest[] = [
  { kind: 'append', ledger, ballot, first: offset(0), offset: offset(3), span: 2, ackedEnd: offset(3), bytes, reserved: true },
  {
    kind: 'append',
    ledger,
    ballot,
    first: offset(0),
    offset: offset(5),
    span: 0,
    ackedEnd: offset(5),
    bytes: Buffer.alloc(0),
    reserved: false,
  },
  { kind: 'create', descriptor: first, ballot },
  { kind: 'fence', descriptor, ballot, first: offset(3) },
  { kind: 'seal', ledger, ballot, first: offset(3), value },
  { kind: 'decided', ledger, first: offset(3), value: last },
  { kind: 'read', ledger, ballot: null, offset: offset(3), bytesMax: 1000 },
  { kind: 'read', ledger, ballot, offset: offset(3), bytesMax: 1 },
  { kind: 'locate', ledger, by: 'time', value: 1_700_000_000_000 },
  { kind: 'locate', ledger, by: 'count', value: 3 },
  { kind: 'inspect', ledger },
  { kind: 'list', partitions: [partition, partitionId(topic, 0)], countMax: 5, after: prev },
  { kind: 'list', partitions: [], countMax: 5, after: null },
  { kind: 'restore', descriptor, first: offset(0), decided: value, offset: offset(3), span: 2, bytes },
  { kind: 'delete', ledger, partition, reason: 'offloaded', ballot },
  { kind: 'floor', partition, offset: offset(3), firstLive: ledger, ballot },
];
const REPLIES: readonly BookieReply[] = [
  { kind: 'ok' },
  { kind: 'appended', end: offset(5) },
  { kind: 'fenced', end: offset(5), ackedEnd: offset(4), accepted: null, decided: null },
  { kind: 'fenced', end: offset(5), ackedEnd: offset(4), accepted: { ballot, ...value }, decided: last },
  { kind: 'stale', promised: ballot },
  { kind: 'refused', reason: 'not_decided', end: null },
  { kind: 'refused', reason: 'gap', end: offset(5) },
  { kind: 'conflict', what: 'zwei Einträge' },
  { kind: 'unknown' },
  { kind: 'busy', reason: 'space' },
  { kind: 'busy', reason: 'queue' },
  { kind: 'gone', decided: value, floor },
  { kind: 'gone', decided: null, floor: null },
  { kind: 'entries', entries: [bytes, bytes], end: offset(9) },
  { kind: 'entries', entries: [], end: offset(9) },
  { kind: 'located', offset: null },
  { kind: 'located', offset: offset(3) },
  { kind: 'state', state },
  { kind: 'state', state: bare },
  {
    kind: 'list',
    partitions: [
      { partition, floor, ledgers: [state, bare], more: true },
      { partition, floor: null, ledgers: [], more: false },
    ],
  },
  { kind: 'corrupt', offset: offset(3), what: 'rot' },
  { kind: 'unreachable' },
];
const CLIENT: readonly ClientMessage[] = [
  ...REQUESTS,
  { kind: 'ping' },
  { kind: 'hello', versionMin: 1, versionMax: 3, clusterId: topic, bookie: null, client: 'broker 1' },
  { kind: 'hello', versionMin: 1, versionMax: 3, clusterId: topic, bookie, client: '' },
];
const SERVER: readonly ServerMessage[] = [
  ...REPLIES,
  { kind: 'pong', full: true },
  { kind: 'welcome', status: 'other_cluster', version: 1, clusterId: topic, bookie },
];

const whole = (views: readonly Buffer[]): Buffer => Buffer.concat(views);
const body = (views: readonly Buffer[]): Buffer => whole(views).subarray(4);

describe('frames between broker and bookie', () => {
  test.each(CLIENT.map((message, n) => ({ n, kind: message.kind, message })))('carry request $n ($kind)', ({ message }) => {
    expect(decodeRequest(body(encodeRequest(0xfffffffe, message)))).toEqual({ requestId: 0xfffffffe, message });
  });

  test.each(SERVER.map((message, n) => ({ n, kind: message.kind, message })))('carry reply $n ($kind)', ({ message }) => {
    expect(decodeReply(body(encodeReply(3, message)))).toEqual({ requestId: 3, message });
  });

  test('carry entries without copying them', () => {
    const views = encodeRequest(1, REQUESTS[0] ?? { kind: 'ping' });
    expect(views[1]).toBe(bytes);
    const view = body(views);
    const decoded = decodeRequest(view);
    expect(typeof decoded === 'object' && decoded.message.kind === 'append' && decoded.message.bytes.buffer).toBe(view.buffer);
  });

  test('every flipped bit of a head, every cut and every surplus byte is noticed', () => {
    for (const view of [
      ...CLIENT.map(message => body(encodeRequest(9, message))),
      ...SERVER.map(message => body(encodeReply(9, message))),
    ]) {
      const decode = view[8] !== undefined && view[8] < 64 ? decodeRequest : decodeReply;
      const headEnd = 4 + view.readUInt32LE(4);
      for (let bit = 0; bit < headEnd * 8; bit++) {
        const broken = Buffer.from(view);
        broken[bit >> 3] = (broken[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(typeof decode(broken), `bit ${bit}`).toBe('string');
      }
      // A cut within an append's entry is for the entry's own checks.
      const hasTail = headEnd < view.length && decode === decodeRequest;
      if (hasTail) continue;
      for (let size = 0; size < view.length; size++) expect(typeof decode(view.subarray(0, size)), `size ${size}`).toBe('string');
      expect(typeof decode(Buffer.concat([view, Buffer.alloc(1)]))).toBe('string');
    }
  });

  test('rubbish behind a good checksum ends in a text, never in an exception', () => {
    const random = simRandom(7);
    for (let n = 0; n < 4000; n++) {
      const bytes = random.bytes(random.integer(120) + FRAME_BYTES_MIN);
      bytes.writeUInt32LE(bytes.length - 4, 4);
      bytes.writeUInt32LE(random.integer(100), 8);
      // Small numbers where counts and flags stand make deeper fields reachable.
      for (let at = 16; at < bytes.length; at++) if (random.chance(0.6)) bytes[at] = random.integer(3);
      bytes.writeUInt32LE(crc(bytes.subarray(4)), 0);
      for (const decode of [decodeRequest, decodeReply]) expect(['string', 'object']).toContain(typeof decode(bytes));
    }
  });
});

describe('the frame parser', () => {
  function collect(max = 1000) {
    const frames: Buffer[] = [];
    const parser = new FrameParser(2, max, view => frames.push(Buffer.from(view)));
    return { frames, parser };
  }
  const frame = (payload: Buffer): Buffer => {
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(payload.length);
    return Buffer.concat([prefix, payload]);
  };

  test('finds the frames however the stream is cut', () => {
    const random = simRandom(3);
    for (let round = 0; round < 300; round++) {
      const payloads = Array.from({ length: 8 }, () => random.bytes(2 + random.integer(200)));
      const stream = Buffer.concat(payloads.map(frame));
      const { frames, parser } = collect();
      for (let at = 0; at < stream.length; ) {
        const size = 1 + random.integer(random.pick([3, 50, 2000]));
        expect(parser.push(stream.subarray(at, at + size))).toBeUndefined();
        at += size;
      }
      expect(frames).toEqual(payloads);
      expect(parser.isWithinFrame).toBe(false);
      expect(parser.heldBytes).toBe(0);
    }
  });

  test('refuses a length before it allocates, and stays refused', () => {
    for (const length of [0xffffffff, 1001, 1, 0]) {
      const { frames, parser } = collect();
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32LE(length);
      expect(parser.push(prefix)).toContain(String(length));
      expect(parser.push(frame(Buffer.alloc(5)))).toContain(String(length));
      expect(frames).toEqual([]);
      expect(parser.heldBytes).toBe(0);
    }
  });

  test('holds memory for what has arrived, not for what was announced', () => {
    const { parser } = collect(100 * 1024 * 1024);
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(100 * 1024 * 1024);
    parser.push(prefix);
    expect(parser.heldBytes).toBe(0);
    parser.push(Buffer.alloc(10));
    expect(parser.heldBytes).toBeLessThanOrEqual(4096);
    expect(parser.isWithinFrame).toBe(true);
  });

  test('has consumed a frame before it hands it out', () => {
    const frames: string[] = [];
    const parser = new FrameParser(1, 100, view => {
      frames.push(view.toString());
      if (frames.length === 1) throw new Error('the caller fails');
    });
    expect(() => parser.push(frame(Buffer.from('one')))).toThrow('the caller fails');
    expect(parser.push(frame(Buffer.from('two')))).toBeUndefined();
    expect(frames).toEqual(['one', 'two']);
  });
});
