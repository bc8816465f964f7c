// docs/protocol.md against what it describes: the error table, the limits, its links.

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ERRORS } from '#lib/types/errors.ts';
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX, MESSAGE_BYTES_MAX, MIB, PARTITIONS_MAX, PRODUCER_WINDOW_MAX } from '#lib/types/limits.ts';
import { ENTRY_BYTES_MAX } from '#lib/wire/entry.ts';
import { REQUEST_ITEMS_MAX, STRING_BYTES_MAX } from '#lib/wire/protobuf.ts';

const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');

/** The cells of each row of the table that begins in `text`. */
function rows(text: string): string[][] {
  return text
    .split('\n')
    .filter(line => line.startsWith('| '))
    .slice(1)
    .map(line => line.split('|').slice(1, -1))
    .map(cells => cells.map(cell => cell.trim()));
}

describe('docs/protocol.md', () => {
  it('lists every error with its status, retry and meaning', () => {
    const table = page.slice(page.indexOf('<!-- errors'), page.indexOf('<!-- /errors'));
    const listed = rows(table).map(([code, status, retry, , meaning]) => [code, status, retry, meaning]);
    const known = Object.entries(ERRORS).map(([code, { status, retry, meaning }]) => [`\`${code}\``, status, retry, meaning]);
    expect(listed).toEqual(known);
    for (const [code, , , fate] of rows(table)) expect(['no', 'unknown', 'no, unknown'], code).toContain(fate);
  });

  it('names the limits that the code has', () => {
    const limits = page.slice(page.indexOf('## Limits'), page.indexOf('## Signs of life'));
    const said = new Map(rows(limits).map(([what = '', most = '']) => [what, most]));
    const find = (start: string) => [...said].find(([what]) => what.startsWith(start))?.[1];
    expect(find('one message')).toBe(`${MESSAGE_BYTES_MAX / MIB} MiB`);
    expect(find('the bytes of one batch')).toBe(`${BATCH_BYTES_MAX / MIB} MiB`);
    expect(find('messages in a batch')).toBe(BATCH_COUNT_MAX.toLocaleString('en'));
    expect(find('elements of')).toBe(REQUEST_ITEMS_MAX.toLocaleString('en'));
    expect(find('batches of a producer')).toBe(String(PRODUCER_WINDOW_MAX));
    expect(find('partitions of a topic')).toBe(PARTITIONS_MAX.toLocaleString('en'));
    expect(find('text in one field')).toBe(`${STRING_BYTES_MAX / 1024} KiB`);
    expect(find('one response')).toBe(`3 MiB; ${ENTRY_BYTES_MAX / MIB} MiB`);
  });

  it('names every file of test vectors', () => {
    for (const file of readdirSync(new URL('vectors/', import.meta.url))) expect(page).toContain(`\`${file}\``);
  });

  it('has a heading for every link within it', () => {
    const anchors = new Set(
      [...page.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
        title
          .toLowerCase()
          .replace(/[^a-z0-9 -]/g, '')
          .replaceAll(' ', '-'),
      ),
    );
    for (const [, anchor] of page.matchAll(/\]\(#([a-z0-9-]+)\)/g)) expect(anchors).toContain(anchor);
  });
});
