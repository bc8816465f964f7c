import { expect, test } from 'vitest';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { ledgerId, offset } from '#lib/types/brands.ts';
import type { Run } from './format.ts';
import { cutSlices, moved, overlay, type Slice, sliceAt, sliceBytes } from './slices.ts';

const ledger = ledgerId('0192f000-0000-7000-8000-100000000001');
const run = (segment: number, first: number, end: number): Run => ({
  ledger,
  segment,
  first: offset(first),
  end: offset(end),
  position: 64,
  bytes: (end - first) * 100,
  entries: end - first,
  marksPosition: 1000,
  marks: 1,
});

test('slices follow what was written and cut last, whatever the order', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = simRandom(seed);
    const owner = new Array<number>(40).fill(-1);
    let slices: readonly Slice[] = [];
    const runs = new Map<number, Run>();
    for (let n = 0; n < 30; n++) {
      const first = random.integer(30);
      const end = first + 1 + random.integer(10);
      const dice = random.next();
      if (dice < 0.2) {
        slices = cutSlices(slices, offset(first));
        owner.fill(-1, first);
      } else if (dice < 0.4 && slices.length > 0) {
        // A rewrite copies a slice into a run of its own.
        const { run: from, from: at, to } = random.pick(slices);
        const copy = run(n, at, to);
        runs.set(n, copy);
        slices = moved(slices, from, copy);
        for (let position = at as number; position < to; position++) if (owner[position] === from.segment) owner[position] = n;
      } else {
        runs.set(n, run(n, first, end));
        slices = overlay(slices, run(n, first, end), offset(first), offset(end));
        owner.fill(n, first, end);
      }
      for (let at = 0; at < owner.length; at++) {
        const found = sliceAt(slices, offset(at));
        expect(found?.run.segment ?? -1, `seed ${seed}, step ${n}, offset ${at}`).toBe(owner[at]);
      }
      for (const [index, slice] of slices.entries()) {
        expect(slice.from).toBeLessThan(slice.to);
        expect(slice.run.first).toBeLessThanOrEqual(slice.from);
        expect(slice.run.end).toBeGreaterThanOrEqual(slice.to);
        expect(slices[index + 1]?.from ?? slice.to).toBeGreaterThanOrEqual(slice.to);
      }
    }
  }
});

test('bytes of a whole run are exact, those of a part are in proportion', () => {
  const whole = run(1, 10, 20);
  expect(sliceBytes({ run: whole, from: offset(10), to: offset(20) })).toBe(1000);
  expect(sliceBytes({ run: whole, from: offset(12), to: offset(17) })).toBe(500);
});
