// One random history: steps drawn by a seed, checks after each, and the healing at the end.

import { simRandom } from '#lib/runtime/sim/random.ts';
import { openHarness } from './harness.ts';
import { type Mistake, plantInHarness, plantInPartition } from './mistakes.ts';
import { Model } from './model.ts';

export interface WalkResult {
  readonly bad: string | null;
  readonly path: readonly string[];
  readonly model: Model;
}

/** One history of `steps` steps, and the healing after it. */
export async function walk(seed: number, steps: number, mistake: Mistake = 'none'): Promise<WalkResult> {
  const rnd = simRandom(seed);
  const harness = await openHarness({
    seed,
    tailBytes: rnd.pick([0, 2000, 1 << 20]),
    settings: {
      checkpointIntervalMs: rnd.pick([0, 10, 300]),
      checkpointInFlightBytes: 1,
      rollAgeMs: 1e12,
      trimBytesMin: 0,
      idempotencyIdsMax: 1000,
    },
    wrap: wrapped => plantInHarness(mistake, wrapped, rnd),
  });
  const model = new Model(harness, rnd, mistake, rnd.pick([1, 1, 5]));
  plantInPartition(mistake, harness.partition, harness);
  const path: string[] = [];
  const acts = model.acts();
  const total = acts.reduce((sum, [weight]) => sum + weight, 0);
  let bad: string | null = null;
  for (let step = 0; step < steps && bad === null; step++) {
    let label: string | undefined;
    while (label === undefined) {
      let at = rnd.next() * total;
      const act = acts.find(([weight]) => {
        at -= weight;
        return at < 0;
      });
      label = await act?.[1]();
    }
    path.push(label);
    await harness.advance(1);
    model.attribute();
    model.witness();
    bad = model.violation();
  }
  bad ??= await model.heal();
  return { bad, path, model };
}
