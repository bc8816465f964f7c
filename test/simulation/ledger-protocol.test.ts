// The ledger protocol's production cores, brokers' and bookies', under random schedules. Longer campaigns: SLUICE_WALKS=20000
// SLUICE_SEED=1 vitest run test/simulation/ledger-protocol.test.ts

import { describe, expect, it } from 'vitest';
import { type PlantedBug, ProtocolSim, type SimResult } from './support/protocol-sim.ts';

const WALKS = Number(process.env['SLUICE_WALKS'] ?? 600);
const SEED = Number(process.env['SLUICE_SEED'] ?? 1);
const STEPS = 500;

interface Shape {
  readonly replicas: number;
  readonly ackQuorum: number;
}

function walks(shape: Shape, bug: PlantedBug, count: number, from = SEED): SimResult & { readonly seed: number; readonly walks: number } {
  let acked = 0;
  let sealed = 0;
  let adopted = 0;
  let rolls = 0;
  for (let walk = 0; walk < count; walk++) {
    const result = new ProtocolSim({ seed: from + walk, steps: STEPS, bug, ...shape }).run();
    acked += result.acked;
    sealed += result.sealed;
    adopted += result.adopted;
    rolls += result.rolls;
    if (result.violation !== null) return { ...result, seed: from + walk, walks: walk + 1 };
  }
  return { violation: null, trace: [], acked, sealed, adopted, rolls, seed: 0, walks: count };
}

describe.each([
  { replicas: 1, ackQuorum: 1 },
  { replicas: 3, ackQuorum: 2 },
  { replicas: 3, ackQuorum: 3 },
  { replicas: 5, ackQuorum: 3 },
])('R $replicas A $ackQuorum', shape => {
  it('loses nothing, forks nothing, and a fresh broker leads after every walk', () => {
    const result = walks(shape, 'none', WALKS);
    const told = result.violation === null ? '' : `seed ${result.seed}: ${result.violation}\n  ${result.trace.slice(-250).join('\n  ')}`;
    expect(told).toBe('');
    // The walks get somewhere.
    expect(result.acked).toBeGreaterThan(WALKS * 4);
    expect(result.sealed).toBeGreaterThan(WALKS);
    expect(result.rolls).toBeGreaterThan(WALKS / 10);
    expect(result.adopted).toBeGreaterThan(WALKS / 100);
  }, 600_000);
});

describe('a planted mistake is found', () => {
  it.each<{ bug: PlantedBug; walks: number }>([
    { bug: 'nofence', walks: 4000 },
    { bug: 'nobackfill', walks: 4000 },
    { bug: 'eagerack', walks: 4000 },
    { bug: 'reseal', walks: 4000 },
    { bug: 'thinadopt', walks: 4000 },
    { bug: 'reuse', walks: 4000 },
  ])(
    '$bug',
    ({ bug, walks: count }) => {
      const result = walks({ replicas: 3, ackQuorum: 2 }, bug, count);
      if (process.env['SLUICE_WALKS']) console.log(bug, result.walks, result.violation);
      expect(result.violation).not.toBeNull();
    },
    120_000,
  );
});
