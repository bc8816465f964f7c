// How often V8 collects garbage in a server that passes buffers on. V8 counts the bytes of buffers as garbage of its heap and, with a heap
// as small as a server's, lets that grow by little: it marks the whole heap again for every 9 MB or so that were published, which took a third
// of a server's CPU time. Here it may grow by a fixed number of bytes instead: of a small heap that is several times its size, of a large one
// what V8 does by itself.

import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** About what V8 itself bounds buffers to between two collections; more would change nothing. */
const GROWTH_BYTES = 64 * 1024 * 1024;
const PERCENT_MAX = 400;
/** From here on V8 chooses better. */
const PERCENT_MIN = 50;
const EVERY_MS = 10_000;

/** What `--heap-growing-percent` should be for a heap of so many bytes; 0: V8 decides. */
export function heapGrowingPercent(usedBytes: number): number {
  const percent = Math.floor((100 * GROWTH_BYTES) / Math.max(usedBytes, 1));
  return percent < PERCENT_MIN ? 0 : Math.min(percent, PERCENT_MAX);
}

/** For a process that is a server and nothing else: the flag is the whole process's. V8 reads it at the end of a collection only. */
export function paceCollections(): void {
  let current = 0;
  const adjust = (): void => {
    const wanted = heapGrowingPercent(getHeapStatistics().used_heap_size);
    // Small changes are not worth a word.
    if (wanted === current || (wanted > 0 && Math.abs(wanted - current) * 10 < current)) return;
    setFlagsFromString(`--heap-growing-percent=${wanted}`);
    current = wanted;
  };
  adjust();
  setInterval(adjust, EVERY_MS).unref();
}
