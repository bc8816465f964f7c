// Where the catalog itself begins: the first ledger of the reserved partition. A record in the metadata store names it; bookies know it as
// well, so that a lost metadata store loses nothing. Only when neither knows of one, and every bookie has answered, is a new cluster begun.

import type { LedgerDescriptor } from '#lib/ledger/protocol.ts';
import { MetadataError } from '#lib/metadata/store.ts';
import { ledgerId, type PartitionId, partitionId, type TopicId, topicId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { listPartition } from '../log/ask.ts';
import { type LogDeps, type LogStart, newFirstLedger } from '../log/partition-log.ts';
import { readFirstLedger } from './core/record.ts';

/** Reserved: no topic gets this id, because ids are made of the time. */
export const CATALOG_TOPIC: TopicId = topicId('00000000-0000-7000-8000-5175616c6963');
export const CATALOG_PARTITION: PartitionId = partitionId(CATALOG_TOPIC, 0);
const BASE_KEY = 'catalog/base';

export interface CatalogBase {
  readonly start: LogStart;
  /** Null: bookies know the catalog, and where it goes on, but not its first ledger. */
  readonly firstLedger: LedgerDescriptor | null;
}

export async function findCatalogBase(deps: LogDeps): Promise<CatalogBase | Failure> {
  try {
    const recorded = await readBase(deps);
    if (recorded !== null) return isFailure(recorded) ? recorded : { start: { kind: 'existing' }, firstLedger: recorded };
    const { listings, complete } = await listPartition(deps.transport, CATALOG_PARTITION);
    if (listings.replicas.size > 0 || listings.floor) {
      const first = firstOf([...listings.replicas.values()].flatMap(replicas => replicas.map(({ state }) => state.descriptor)));
      deps.world.logger.warn('the metadata store does not know the catalog; bookies do', { ledgers: listings.replicas.size });
      if (first) await record(deps, first);
      return { start: { kind: 'existing' }, firstLedger: first };
    }
    if (!complete) return fail('storage_unavailable', 'not every bookie answers, so whether there is a catalog is not known', {}, 1000);
    return await begin(deps);
  } catch (error) {
    if (error instanceof MetadataError) return fail('unavailable', `the metadata store cannot be reached: ${error.message}`, {}, 1000);
    throw error;
  }
}

/** A new cluster: the first broker's first ledger counts, whoever comes second uses it. */
async function begin(deps: LogDeps): Promise<CatalogBase | Failure> {
  const made = newFirstLedger(deps, CATALOG_PARTITION, CATALOG_TOPIC);
  if (isFailure(made)) return made;
  const other = await record(deps, made);
  if (isFailure(other)) return other;
  return other === null ? { start: { kind: 'new' }, firstLedger: made } : { start: { kind: 'existing' }, firstLedger: other };
}

/** Null: recorded. Else what somebody recorded before. */
async function record(deps: LogDeps, descriptor: LedgerDescriptor): Promise<LedgerDescriptor | Failure | null> {
  const { ledger, ensemble, ackQuorum, creator } = descriptor;
  const value = Buffer.from(JSON.stringify({ ledger, ensemble, ackQuorum, creator }));
  const stored = await deps.metadata.putRecord(BASE_KEY, value, 0, deps.world.random.bytes(8).toString('hex'));
  if (stored.kind === 'stored') return null;
  return readBase(deps);
}

async function readBase(deps: LogDeps): Promise<LedgerDescriptor | Failure | null> {
  const found = await deps.metadata.readRecord(BASE_KEY);
  if (!found) return null;
  const first = readFirstLedger(found.value);
  if (isFailure(first)) return first;
  return { ...first, partition: CATALOG_PARTITION, topic: CATALOG_TOPIC, prev: null };
}

/** Of ledgers without a predecessor the oldest: ids are made of the time. */
function firstOf(descriptors: readonly LedgerDescriptor[]): LedgerDescriptor | null {
  let first: LedgerDescriptor | null = null;
  for (const descriptor of descriptors) {
    if (descriptor.prev !== null) continue;
    if (first === null || ledgerId(descriptor.ledger) < first.ledger) first = descriptor;
  }
  return first;
}
