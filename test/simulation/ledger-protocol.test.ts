// The ledger protocol's production cores, brokers' and bookies', under random schedules. Longer campaigns: SLUICE_WALKS=20000
// SLUICE_SEED=1 vitest run test/simulation/ledger-protocol.test.ts

import { describe, expect, it } from 'vitest';
import { type PlantedBug, ProtocolSim, type SimResult } from './support/protocol-sim.ts';

const WALKS = Number(process.env['SLUICE_WALKS'] ?? 250);
const SEED = Number(process.env['SLUICE_SEED'] ?? 1);
const STEPS = 500;
/** Walks in which a planted mistake must be found. */
const BUDGET = 2000;

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
  it.each<Shape & { readonly bug: PlantedBug }>([
    { bug: 'nofence', replicas: 3, ackQuorum: 2 },
    { bug: 'nobackfill', replicas: 3, ackQuorum: 2 },
    { bug: 'eagerack', replicas: 3, ackQuorum: 2 },
    { bug: 'reseal', replicas: 3, ackQuorum: 2 },
    { bug: 'thinadopt', replicas: 3, ackQuorum: 2 },
    { bug: 'reuse', replicas: 1, ackQuorum: 1 },
  ])(
    '$bug',
    ({ bug, ...shape }) => {
      const result = walks(shape, bug, BUDGET);
      if (process.env['SLUICE_WALKS']) console.log(bug, result.walks, result.violation);
      expect(result.violation).not.toBeNull();
    },
    120_000,
  );
});
