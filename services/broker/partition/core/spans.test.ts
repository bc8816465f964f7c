import { describe, expect, test } from 'vitest';
import { normalizeSpans } from './spans.ts';

describe('spans of an acknowledgement', () => {
  test('are put in order and joined', () => {
    expect(
      normalizeSpans(
        [
          [8, 9],
          [1, 3],
          [3, 5],
          [2, 4],
        ],
        10,
      ),
    ).toEqual([1, 5, 8, 9]);
    expect(normalizeSpans([], 10)).toEqual([]);
  });

  test.each([
    ['empty', [3, 3]],
    ['turned round', [5, 3]],
    ['negative', [-1, 3]],
    ['beyond the end', [3, 11]],
    ['no number', [Number.NaN, 3]],
    ['beyond 2^53', [3, 2 ** 60]],
  ] as const)('that are %s are refused', (_, span) => {
    expect(normalizeSpans([span], 10)).toBeUndefined();
  });
});
