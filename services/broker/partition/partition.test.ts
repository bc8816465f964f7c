import { describe, expect, test } from 'vitest';
import { isFailure } from '#lib/types/errors.ts';
import { attach, batchOf, openHarness, publish, TestSink } from './testing/harness.ts';

describe('a partition', () => {
  test('stores batches and delivers them in order', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    const session = await attach(harness, 's', sink);
    expect(isFailure(session)).toBe(false);
    expect(await publish(harness, batchOf(['a', 'b']))).toMatchObject({ kind: 'stored', offset: 1, count: 2 });
    expect(await publish(harness, batchOf(['c']))).toMatchObject({ kind: 'stored', offset: 3 });
    expect(sink.values).toEqual(['a', 'b', 'c']);
  });
});
