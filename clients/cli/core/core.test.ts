import { describe, expect, test } from 'vitest';
import { AckRecord } from './acks.ts';
import { type PartitionEnd, UntilEnd } from './end.ts';
import { type Printable, parseFormat, printJson, printPayload } from './format.ts';
import { LatencyHistogram } from './histogram.ts';
import { parseKeyFrom } from './keys.ts';
import { LineSplitter } from './lines.ts';

describe('lines', () => {
  function split(chunks: readonly (string | Buffer)[], lineBytesMax = 1_000): (string | 'too long')[] {
    const splitter = new LineSplitter({ lineBytesMax });
    const lines: string[] = [];
    for (const chunk of chunks) {
      splitter.push(Buffer.from(chunk));
      for (let line = splitter.next(); line !== undefined; line = splitter.next()) {
        if (line === 'too long') return [...lines, 'too long'];
        lines.push(line.toString('latin1'));
      }
    }
    const last = splitter.end();
    if (last) lines.push(last.toString('latin1'));
    expect(splitter.count).toBe(lines.length);
    return lines;
  }

  test('a newline ends a line, a last line needs none, empty lines are lines', () => {
    expect(split(['a\nb'])).toEqual(['a', 'b']);
    expect(split(['a\n\n\nb\n'])).toEqual(['a', '', '', 'b']);
    expect(split(['\n'])).toEqual(['']);
    expect(split([''])).toEqual([]);
    expect(split([])).toEqual([]);
  });

  test('bytes are kept as they are: carriage returns, zeros, what is no UTF-8', () => {
    expect(split([Buffer.from([0xff, 0x00, 0x0d, 0x0a, 0xc3])])).toEqual(['\xff\x00\r', '\xc3']);
  });

  test('however the bytes are cut into chunks, the lines are the same', () => {
    const text = Buffer.from('first\n\nthe third line is longer\n4\n\nlast');
    const whole = split([text]);
    for (let size = 1; size <= text.length; size++) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < text.length; at += size) chunks.push(text.subarray(at, at + size));
      expect(split(chunks), `chunks of ${size}`).toEqual(whole);
    }
  });

  test('a line at the limit passes, one above it is noticed before it is whole', () => {
    expect(split(['x'.repeat(10), '\n'], 10)).toEqual(['x'.repeat(10)]);
    expect(split(['ok\n', 'x'.repeat(11)], 10)).toEqual(['ok', 'too long']);
    expect(split(['x'.repeat(6), 'x'.repeat(5), 'more'], 10)).toEqual(['too long']);
    expect(split(['x'.repeat(6), 'x'.repeat(5), '\n'], 10)).toEqual(['too long']);
    expect(split(['x'.repeat(11), '\n'], 10)).toEqual(['too long']);
    expect(split(['xxxxxx', 'xxxxx\n'], 10)).toEqual(['too long']);
  });
});

describe('keys', () => {
  function key(from: string, line: string): string | undefined | 'wrong' {
    const result = parseKeyFrom(from);
    return result.kind === 'wrong' ? 'wrong' : result.of(Buffer.from(line))?.toString();
  }

  test.each([
    ['field:1', 'one two', 'one'],
    ['field:2', '  one \t two  ', 'two'],
    ['field:3', 'one two ', undefined],
    ['field:1', '', undefined],
    ['field:2:,', 'a,b,c', 'b'],
    ['field:2:,', 'a,,c', ''],
    ['field:4:,', 'a,b,c', undefined],
    ['field:2:\\t', 'a\tb c\td', 'b c'],
    ['field:2:::', 'a::b', 'b'],
    ['regex:id=(\\d+)', 'x id=42 y', '42'],
    ['regex:\\w+', '--word--', 'word'],
    ['regex:z', 'abc', undefined],
    ['json:user.id', '{"user":{"id":"u7"}}', 'u7'],
    ['json:n', '{"n":7}', '7'],
    ['json:n', '{"n":null}', undefined],
    ['json:toString', '{}', undefined],
    ['json:a', 'no json', undefined],
  ])('%s of %j is %j', (from, line, expected) => {
    expect(key(from, line)).toBe(expected);
  });

  test('what is no such rule is refused', () => {
    for (const bad of ['', 'field', 'field:', 'field:0', 'field:x', 'json:', 'regex:(', 'column:1', '1'])
      expect(key(bad, 'x'), bad).toBe('wrong');
  });
});

describe('format', () => {
  const message: Printable = {
    partition: 3,
    offset: 17,
    key: Buffer.from('k'),
    payload: Buffer.from([0xff, 0x41]),
    appendTimeMs: 1_700_000_000_123,
    headers: [['a', Buffer.from('1')]],
  };
  const printed = (print: (m: Printable, n: number, append: (bytes: Uint8Array) => void) => void, of = message) => {
    const parts: Uint8Array[] = [];
    print(of, 5, bytes => parts.push(bytes));
    return Buffer.concat(parts);
  };
  const formatted = (format: string, of = message) => {
    const result = parseFormat(format);
    if (result.kind === 'wrong') throw new Error(result.allowed);
    return printed(result.print, of).toString('latin1');
  };

  test('directives and escapes', () => {
    expect(formatted('%p %o %k %v\\n')).toBe('3 17 k \xffA\n');
    expect(formatted('%n:%T:%t:%h')).toBe('5:1700000000123:2023-11-14T22:13:20.123Z:[["a","1"]]');
    expect(formatted('100%% \\t\\\\\\r\\0')).toBe('100% \t\\\r\0');
    expect(formatted('%k|%v', { ...message, key: null, payload: undefined })).toBe('|');
  });

  test('what is no directive is refused', () => {
    for (const bad of ['%x', '%', 'a\\q', '\\']) expect(parseFormat(bad).kind, bad).toBe('wrong');
  });

  test('by default: the payload as it is, and a newline', () => {
    expect(printed(printPayload).toString('latin1')).toBe('\xffA\n');
    expect(printed(printPayload, { ...message, payload: null }).toString()).toBe('\n');
  });

  test('json keeps bytes that are no text', () => {
    expect(JSON.parse(printed(printJson).toString())).toEqual({
      partition: 3,
      offset: 17,
      appendTimeMs: 1_700_000_000_123,
      key: 'k',
      payloadBase64: '/0E=',
      headers: [['a', '1']],
    });
    expect(JSON.parse(printed(printJson, { ...message, key: null, headers: [], payload: Buffer.from('é') }).toString())).toMatchObject({
      key: null,
      payload: 'é',
    });
  });
});

describe('latencies', () => {
  test('quantiles are right within 1 %, at every scale', () => {
    for (const scale of [1, 37, 1_000, 1_000_000]) {
      const histogram = new LatencyHistogram();
      for (let n = 1; n <= 10_000; n++) histogram.record(n * scale);
      for (const quantile of [0.01, 0.5, 0.99, 0.999, 1]) {
        const exact = 10_000 * quantile * scale;
        expect(Math.abs(histogram.quantile(quantile) - exact), `${quantile} of ${scale}`).toBeLessThanOrEqual(exact * 0.01 + 1);
      }
      expect(histogram.max).toBe(10_000 * scale);
    }
  });

  test('nothing, one value, and values beyond all measure', () => {
    const histogram = new LatencyHistogram();
    expect(histogram.quantile(0.5)).toBe(0);
    histogram.record(0.4);
    expect(histogram.quantile(0.99)).toBeLessThanOrEqual(0.4);
    histogram.record(-3);
    histogram.record(2 ** 50);
    expect(histogram.quantile(1)).toBeGreaterThan(2 ** 39);
    expect(histogram.count).toBe(3);
  });
});

describe('record of acknowledgements', () => {
  test('lines come out in order, however the acknowledgements come in', () => {
    const record = new AckRecord();
    record.acknowledged(2, 1, 20);
    expect(record.take()).toBe('');
    record.acknowledged(1, 0, 10);
    expect(record.take()).toBe('1,0,10\n2,1,20\n');
    expect(record.take()).toBe('');
    record.acknowledged(3, 0, 11);
    expect(record.take()).toBe('3,0,11\n');
  });

  test('what is kept is bounded by what waits, not by how many lines there were', () => {
    const record = new AckRecord();
    for (let line = 1; line <= 50_000; line++) record.acknowledged(line, 0, line);
    record.acknowledged(50_003, 0, 50_003);
    expect(record.held).toBeLessThan(10);
    expect(record.take().split('\n')).toHaveLength(50_001);
    record.acknowledged(50_002, 0, 50_002);
    record.acknowledged(50_001, 0, 50_001);
    expect([record.held, record.take().split('\n').length]).toEqual([0, 4]);
  });

  test('many lines in a random order, a window at a time', () => {
    const record = new AckRecord();
    let text = '';
    let state = 7;
    const window: number[] = [];
    for (let line = 1; line <= 20_000 || window.length > 0; line++) {
      if (line <= 20_000) window.push(line);
      if (window.length < 500 && line < 20_000) continue;
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const [picked] = window.splice(state % window.length, 1);
      if (picked !== undefined) record.acknowledged(picked, picked % 8, picked * 2);
      if (line % 100 === 0) text += record.take();
    }
    text += record.take();
    const lines = text.trimEnd().split('\n');
    expect(lines).toHaveLength(20_000);
    lines.forEach((line, index) => {
      if (line !== `${index + 1},${(index + 1) % 8},${(index + 1) * 2}`) throw new Error(`line ${index + 1} is ${line}`);
    });
    expect(record.next).toBe(20_001);
  });
});

describe('until the end', () => {
  const at = (endOffset: number, backlog: number, markDelete = 0, partition = 0): PartitionEnd => ({
    topic: 't',
    partition,
    markDelete,
    endOffset,
    backlog,
  });

  test('nothing to do: no message, or all acknowledged, whatever control entries lie at the end', () => {
    expect(new UntilEnd([]).done).toBe(true);
    expect(new UntilEnd([at(0, 0)]).done).toBe(true);
    expect(new UntilEnd([at(7, 0, 3)]).done).toBe(true);
    expect(new UntilEnd([at(7, 5, 7)]).done).toBe(true);
  });

  test('a partition ends with its last message, the whole with its last partition', () => {
    const end = new UntilEnd([at(3, 2, 1, 0), at(2, 1, 1, 1)]);
    expect([end.take('t', 0, 1), end.done]).toEqual([true, false]);
    expect([end.take('t', 1, 1), end.done]).toEqual([true, false]);
    expect([end.take('t', 0, 2), end.done]).toEqual([true, true]);
  });

  test('control entries at the end: as many messages as were not acknowledged are enough', () => {
    const end = new UntilEnd([at(100, 2, 10)]);
    end.take('t', 0, 20);
    expect(end.done).toBe(false);
    end.take('t', 0, 30);
    expect(end.done).toBe(true);
  });

  test('what lies beyond the end is not taken, and shows that all before it has come', () => {
    const end = new UntilEnd([at(10, 5)]);
    expect(end.take('t', 0, 4)).toBe(true);
    expect(end.take('t', 0, 10)).toBe(false);
    expect(end.done).toBe(true);
    expect(end.take('t', 0, 11)).toBe(false);
  });

  test('repeats after a lost connection do not count twice', () => {
    const end = new UntilEnd([at(10, 4)]);
    for (const offset of [1, 2, 1, 2]) end.take('t', 0, offset);
    expect(end.done).toBe(false);
    for (const offset of [3, 4]) end.take('t', 0, offset);
    expect(end.done).toBe(true);
  });

  test('what was trimmed or acknowledged by others meanwhile is learned from the server', () => {
    const end = new UntilEnd([at(10, 4, 0, 0), at(10, 4, 0, 1)]);
    end.observe([at(12, 2, 9, 0), at(10, 0, 5, 1)]);
    expect(end.done).toBe(false);
    end.observe([at(12, 2, 10, 0)]);
    expect(end.done).toBe(true);
  });
});
