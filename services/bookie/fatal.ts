// Ends the process from a callback that has nobody above it.

import type { World } from '#lib/runtime/ports.ts';

/** `fatal` throws where it does not end the process at once, to stop its caller; here there is none to stop. */
export function endProcess(world: World, reason: string, error: unknown): void {
  try {
    world.fatal(reason, error);
  } catch {
    // Nothing runs on behind this.
  }
}
