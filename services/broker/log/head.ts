// Publishes the newest linked ledger of a partition to the metadata store, so that the next owner need not search. It is an index only:
// a store that cannot be reached is tried again, and nothing waits for it but an orderly close.

import { type ChainHead, MetadataError } from '#lib/metadata/store.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import type { PartitionId } from '#lib/types/brands.ts';
import type { LogDeps } from './settings.ts';

const RETRY_MS = 1000;
const SETTLE_MS = 3000;

export class HeadPublisher {
  readonly #deps: LogDeps;
  readonly #partition: PartitionId;
  readonly #ballot: Ballot;
  #wanted: ChainHead | null = null;
  #running = false;
  #stopped = false;
  readonly #waiting: (() => void)[] = [];

  constructor(deps: LogDeps, partition: PartitionId, ballot: Ballot) {
    this.#deps = deps;
    this.#partition = partition;
    this.#ballot = ballot;
  }

  /** The chain's newest linked ledger; one that was not stored yet is skipped. */
  publish(head: ChainHead): void {
    this.#wanted = head;
    if (!this.#running && !this.#stopped) void this.#run();
  }

  /** Resolves when nothing is left to store, or after a moment. */
  settled(): Promise<void> {
    if (!this.#running) return Promise.resolve();
    return new Promise(resolve => {
      this.#waiting.push(resolve);
      this.#deps.world.clock.after(SETTLE_MS, resolve);
    });
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(): Promise<void> {
    this.#running = true;
    const { metadata, world } = this.#deps;
    while (this.#wanted && !this.#stopped) {
      const head = this.#wanted;
      this.#wanted = null;
      try {
        await metadata.putHead(this.#partition, head, this.#ballot, world.random.bytes(8).toString('hex'));
      } catch (error) {
        if (!(error instanceof MetadataError)) throw error;
        world.logger.warn('the newest ledger is not in the index yet', { partition: this.#partition, error: error.message });
        this.#wanted ??= head;
        await new Promise<void>(resolve => world.clock.after(RETRY_MS, resolve));
      }
    }
    this.#running = false;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
