// Deleting the data of purged topics. The catalog's record is the point of no return, and this work goes on until nothing is left, over
// restarts too: a partition that is open, or can be opened, is ended by its log; of one that ended half way the ledgers that bookies still
// list are deleted one by one.

import { MetadataError } from '#lib/metadata/store.ts';
import { type PartitionId, partitionId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Topic } from '../catalog/core/model.ts';
import { ask, listPartition } from '../log/ask.ts';
import type { LogDeps } from '../log/partition-log.ts';
import type { Partitions } from './partitions.ts';

export const TOPIC_DELETED: Failure = fail('topic_not_found', 'the topic has been deleted');
const STOPPED: Failure = fail('unavailable', 'the server is stopping');
const RETRY_MS = 5_000;

export class Purges {
  readonly #deps: LogDeps;
  readonly #catalog: Catalog;
  readonly #partitions: Partitions;
  readonly #waiting: Topic[] = [];
  #running = false;
  #closed = false;

  constructor(deps: LogDeps, catalog: Catalog, partitions: Partitions) {
    this.#deps = deps;
    this.#catalog = catalog;
    this.#partitions = partitions;
  }

  /** Topics whose data is not gone yet. */
  get pending(): number {
    return this.#waiting.length + (this.#running ? 1 : 0);
  }

  add(topic: Topic): void {
    for (let index = 0; index < topic.partitions; index++) this.#partitions.end(partitionId(topic.id, index), TOPIC_DELETED);
    this.#waiting.push(topic);
    if (!this.#running) this.#run();
  }

  close(): void {
    this.#closed = true;
  }

  #run(): void {
    this.#running = true;
    this.#work()
      .catch(error => this.#deps.world.logger.error('purging topics failed', { error: String(error) }))
      .finally(() => {
        this.#running = false;
      });
  }

  async #work(): Promise<void> {
    for (let topic = this.#waiting.shift(); topic && !this.#closed; topic = this.#waiting.shift()) {
      const failure = await this.#purge(topic);
      if (this.#closed) return;
      if (!failure) continue;
      this.#deps.world.logger.warn('topic not purged yet', { topic: topic.name, reason: failure.message });
      const again = topic;
      this.#deps.world.clock.after(RETRY_MS, () => {
        if (!this.#closed) this.add(again);
      });
    }
  }

  async #purge(topic: Topic): Promise<Failure | null> {
    for (let index = 0; index < topic.partitions; index++) {
      const failure = await this.#purgePartition(partitionId(topic.id, index));
      if (failure) return failure;
      if (this.#closed) return STOPPED;
    }
    const done = await this.#catalog.change({ kind: 'finish_purge', id: topic.id });
    if (isFailure(done)) return done;
    this.#deps.world.logger.info('topic purged', { topic: topic.name, topicId: topic.id });
    return null;
  }

  async #purgePartition(id: PartitionId): Promise<Failure | null> {
    if (!this.#partitions.has(id) && (await this.#isGone(id))) return this.#forget(id);
    const failure = await this.#partitions.purge(id, TOPIC_DELETED);
    if (this.#closed) return STOPPED;
    if (failure && failure.code !== 'topic_not_found') return failure;
    if (await this.#isGone(id)) return this.#forget(id);
    return this.#deleteListed(id);
  }

  async #isGone(id: PartitionId): Promise<boolean> {
    const { listings, complete } = await listPartition(this.#deps.transport, id);
    return complete && listings.replicas.size === 0;
  }

  /** It ended before, and not everybody was told. */
  async #deleteListed(id: PartitionId): Promise<Failure | null> {
    const { listings } = await listPartition(this.#deps.transport, id);
    const epoch = await this.#deps.metadata.nextEpoch(id, this.#deps.epochs.get(id) ?? 0);
    const ballot = { epoch, incarnation: this.#deps.incarnation };
    for (const [ledger, replicas] of listings.replicas)
      for (const { bookie } of replicas) {
        const reply = await ask(this.#deps.transport, bookie, { kind: 'delete', ledger, partition: id, reason: 'purged', ballot });
        if (reply.kind !== 'ok' && reply.kind !== 'gone')
          return fail('storage_unavailable', `bookie ${bookie} answers ${reply.kind} to the deletion of ${ledger}`);
      }
    return (await this.#isGone(id)) ? this.#forget(id) : fail('storage_unavailable', `ledgers of ${id} are still listed`);
  }

  async #forget(id: PartitionId): Promise<null> {
    this.#deps.epochs.delete(id);
    try {
      await this.#deps.metadata.dropPartition(id);
    } catch (error) {
      if (!(error instanceof MetadataError)) throw error;
      this.#deps.world.logger.warn('purged partition not removed from metadata', { partition: id, error: error.message });
    }
    return null;
  }
}
