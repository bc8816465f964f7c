// A world for tests and simulations: one seed is one history. `fatal` throws `SimFatal`, which ends the node that meets it.

import { nullLogger } from '../loggers.ts';
import type { Logger, World } from '../ports.ts';
import { type SimClock, simClock } from './clock.ts';
import { type SimDisk, simDisk } from './disk.ts';
import { type SimRandom, simRandom } from './random.ts';

export interface SimWorld extends World {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly disk: SimDisk;
  /** What `fatal` was called with, first to last. */
  readonly fatals: readonly string[];
}

export class SimFatal extends Error {
  override readonly name = 'SimFatal';
}

export interface SimWorldOptions {
  readonly clock?: SimClock;
  readonly disk?: SimDisk;
  readonly logger?: Logger;
}

export function simWorld(seed: number, options: SimWorldOptions = {}): SimWorld {
  const random = simRandom(seed);
  const clock = options.clock ?? simClock();
  const fatals: string[] = [];
  return {
    clock,
    random,
    disk: options.disk ?? simDisk(random.fork(), { clock }),
    logger: options.logger ?? nullLogger(),
    fatals,
    fatal: (reason, error): never => {
      fatals.push(reason);
      throw new SimFatal(reason, { cause: error });
    },
  };
}
