import { describe, expect, test } from 'vitest';
import { MISTAKES } from './testing/mistakes.ts';
import { walk } from './testing/walk.ts';

const WALKS = Number(process.env['SLUICE_WALKS'] ?? 100);
const FIRST_SEED = Number(process.env['SLUICE_SEED'] ?? 1);
const STEPS = 150;

describe('a partition under faults', () => {
  test('keeps its promises in random histories', async () => {
    const sum = { steps: 0, takeOvers: 0, trims: 0, checkpoints: 0 };
    for (let seed = FIRST_SEED; seed < FIRST_SEED + WALKS; seed++) {
      const { bad, path, model } = await walk(seed, STEPS);
      expect(bad, `seed ${seed}:\n  ${path.join('\n  ')}`).toBeNull();
      sum.steps += path.length;
      sum.takeOvers += model.takeOvers;
      sum.trims += model.trims;
      sum.checkpoints += model.checkpoints;
    }
    expect(Math.min(sum.takeOvers, sum.trims, sum.checkpoints)).toBeGreaterThan(WALKS / 10);
  });

  test.each(MISTAKES)('the checks find the mistake %s', async mistake => {
    let bad: string | null = null;
    for (let seed = 1; seed <= 400 && bad === null; seed++) bad = (await attempt(seed, mistake)) ?? null;
    expect(bad).not.toBeNull();
  });
});

/** An assertion of the production code that fails is a find as well. */
async function attempt(seed: number, mistake: (typeof MISTAKES)[number]): Promise<string | null> {
  try {
    return (await walk(seed, STEPS, mistake)).bad;
  } catch (error) {
    return String(error);
  }
}
