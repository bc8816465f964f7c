// Tells the watchers in this process of changes: later, never within the write; many changes of one thing in one turn are one.

import type { Clock } from '#lib/runtime/ports.ts';
import type { MetadataChange } from './store.ts';

interface Watcher {
  readonly prefix: string;
  readonly onChange: (change: MetadataChange) => void;
}

const subjectOf = (change: MetadataChange): string => (change.kind === 'record' ? change.key : change.partition);

export class Watchers {
  readonly #clock: Clock;
  readonly #watchers = new Set<Watcher>();
  /** At most one for each thing that there is. */
  #pending = new Map<string, MetadataChange>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `prefix` is that of a record's key or of a partition's id; '' means everything. */
  add(prefix: string, onChange: (change: MetadataChange) => void): () => void {
    const watcher = { prefix, onChange };
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  tell(change: MetadataChange): void {
    if (this.#watchers.size === 0) return;
    if (this.#pending.size === 0) this.#clock.soon(() => this.#flush());
    this.#pending.set(`${change.kind} ${subjectOf(change)}`, change);
  }

  clear(): void {
    this.#watchers.clear();
    this.#pending.clear();
  }

  #flush(): void {
    const changes = this.#pending;
    this.#pending = new Map();
    for (const change of changes.values()) {
      for (const watcher of [...this.#watchers]) {
        // One that was taken away by a callback before is not called any more.
        if (this.#watchers.has(watcher) && subjectOf(change).startsWith(watcher.prefix)) watcher.onChange(change);
      }
    }
  }
}
