import { describe, expect, test } from 'vitest';
import { type ControlRecord, decodeControl, encodeControl } from './control.ts';

const RECORDS: readonly ControlRecord[] = [
  { kind: 'producer', name: 'p', epoch: 3, instance: '00000000000000a1', window: 64, ephemeral: true },
  { kind: 'subscribed', name: 's', type: 1, from: 10, count: 7 },
  { kind: 'sought', name: 's', from: 0, count: 0 },
  { kind: 'unsubscribed', name: '__proto__' },
  { kind: 'acknowledged', name: 's', resetEpoch: 4, upTo: 9, spans: [10, 12, 14, 20] },
  { kind: 'chunk', snapshot: 5, blocks: { 's:a': [1, 2], p3: [] } },
  {
    kind: 'commit',
    snapshot: 5,
    start: 1,
    startCount: 1,
    count: 4,
    appendTimeMs: 1_700_000_000_000,
    blocks: new Map([['s:a', 5]]),
    expire: { producersMs: 1, ephemeralMs: 2, idsMs: 3 },
  },
  { kind: 'trim', to: 9, count: 3, ledger: '01890000-0000-7000-8000-000000000001' },
  { kind: 'gap', from: 3, to: 9 },
];

const reasonOf = (value: unknown): string => {
  const record = decodeControl(Buffer.from(JSON.stringify(value)));
  return record.kind === 'malformed' ? record.reason : 'accepted';
};

describe('a control record', () => {
  test.each(RECORDS.map(record => [record.kind, record] as const))('%s comes back as it was written', (_, record) => {
    expect(decodeControl(encodeControl(record))).toEqual(record);
  });

  test('is refused when it is of another version', () => {
    expect(reasonOf({ v: 2, kind: 'gap', from: 1, to: 2 })).toContain('version 2');
    expect(reasonOf({ kind: 'gap', from: 1, to: 2 })).toContain('version');
  });

  test('is refused when its kind or one of its fields is not known', () => {
    expect(reasonOf({ v: 1, kind: 'promote' })).toContain('"promote"');
    expect(reasonOf({ v: 1, kind: 'gap', from: 1, to: 2, more: 1 })).toContain('more');
  });

  test.each([
    ['a negative offset', { v: 1, kind: 'gap', from: -1, to: 2 }],
    ['an offset over 2^53', { v: 1, kind: 'gap', from: 2 ** 60, to: 2 }],
    ['half an offset', { v: 1, kind: 'gap', from: 0.5, to: 2 }],
    ['a missing field', { v: 1, kind: 'gap', from: 1 }],
    ['a name that is none', { v: 1, kind: 'unsubscribed', name: 5 }],
    ['a type that is none', { v: 1, kind: 'subscribed', name: 's', type: 5, from: 0, count: 0 }],
    ['spans that overlap', { v: 1, kind: 'acknowledged', name: 's', resetEpoch: 0, upTo: 0, spans: [1, 5, 4, 6] }],
    ['an empty span', { v: 1, kind: 'acknowledged', name: 's', resetEpoch: 0, upTo: 0, spans: [5, 5] }],
    ['half a span', { v: 1, kind: 'acknowledged', name: 's', resetEpoch: 0, upTo: 0, spans: [5] }],
    ['blocks that are a list', { v: 1, kind: 'chunk', snapshot: 1, blocks: [] }],
    ['a list', []],
    ['nothing', null],
  ])('with %s is refused', (_, value) => {
    expect(reasonOf(value)).not.toBe('accepted');
  });

  test('that is no JSON is refused', () => {
    expect(decodeControl(Buffer.from('{"v":1,')).kind).toBe('malformed');
    expect(decodeControl(Buffer.alloc(0)).kind).toBe('malformed');
  });

  test('survives no single damaged byte as another record of the same text', () => {
    for (const record of RECORDS) {
      const bytes = encodeControl(record);
      for (let at = 0; at < bytes.length; at++) {
        const damaged = Buffer.from(bytes);
        damaged[at] = 0;
        expect(decodeControl(damaged).kind).toBe('malformed');
      }
    }
  });
});
