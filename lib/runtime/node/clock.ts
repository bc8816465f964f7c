// The clock of the machine. Timers keep the process alive, as the loop that waits for them expects.

import type { Clock } from '../ports.ts';

export function nodeClock(): Clock {
  return {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    after: (delayMs, run) => {
      const timer = setTimeout(run, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
    soon: run => {
      setImmediate(run);
    },
  };
}
