// The real world, built once by `main.ts`.

import type { Logger, World } from '../ports.ts';
import { nodeClock } from './clock.ts';
import { nodeDisk } from './disk.ts';
import { nodeRandom } from './random.ts';

export interface NodeWorldOptions {
  readonly logger: Logger;
  /** Ends the process (or, in a user's test, the server). What it returns to is thrown out of by `FatalError`. */
  readonly onFatal: (reason: string, error?: unknown) => void;
}

/** Thrown by `fatal` after `onFatal`, so that nothing runs on behind it. */
export class FatalError extends Error {
  override readonly name = 'FatalError';
}

export function createNodeWorld(options: NodeWorldOptions): World {
  return {
    clock: nodeClock(),
    random: nodeRandom(),
    disk: nodeDisk(),
    logger: options.logger,
    fatal: (reason, error): never => {
      options.logger.error('fatal', { reason, error });
      options.onFatal(reason, error);
      throw new FatalError(reason, { cause: error });
    },
  };
}
