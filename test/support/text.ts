// Makes a text like a package index: paragraphs of fields, empty lines between them, UTF-8, some very long lines. The same seed gives the
// same bytes.
import { createHash } from 'node:crypto';

const WORDS =
  'library network message broker ledger Größe naïve 消息 сообщение シリアル entry queue tool data shared runtime files static'.split(' ');

/** At least `lineCount` lines, each ended by a newline. */
export function packageIndex(lineCount: number, seed = 1): Buffer {
  let state = seed >>> 0;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const words = (count: number) => Array.from({ length: count }, () => WORDS[next(WORDS.length)]).join(' ');
  const lines: string[] = [];
  for (let n = 0; lines.length < lineCount; n++) {
    lines.push(`Package: ${words(1)}-${n}`, `Version: ${next(20)}.${next(100)}-${next(9)}`, `Installed-Size: ${next(100_000)}`);
    lines.push(`Depends: ${words(1 + next(12))}`, `Description: ${words(3 + next(10))}`, ` ${words(next(20))}`);
    if (n % 997 === 0) lines.push(`Tag: ${words(2_000 + next(20_000))}`);
    lines.push('');
  }
  return Buffer.from(`${lines.join('\n')}\n`);
}

export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
