// The metadata store in memory: for tests, for servers without a disk, and for the simulator, which takes it away, empties it, or sets it
// back to an earlier state, as happens to an index that is not the truth.

import type { Clock } from '#lib/runtime/ports.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import type { PartitionId } from '#lib/types/brands.ts';
import { blockWins, claimWins, headWins, nextEpoch, Operations, recordWins } from './core/rules.ts';
import {
  type ChainHead,
  type Claim,
  type Compared,
  type CursorBlock,
  type CursorUpdate,
  type MetadataChange,
  MetadataError,
  type MetadataStore,
} from './store.ts';
import { Watchers } from './watchers.ts';

interface StoredRecord {
  readonly value: Buffer;
  readonly version: number;
}

/** Everything that is kept. Values in it are never changed in place. */
interface State {
  readonly epochs: Map<PartitionId, number>;
  readonly claims: Map<PartitionId, Claim>;
  readonly heads: Map<PartitionId, { readonly head: ChainHead; readonly ballot: Ballot }>;
  readonly cursors: Map<PartitionId, Map<string, Map<string, CursorBlock>>>;
  readonly records: Map<string, StoredRecord>;
}

const STORED = { kind: 'stored' } as const;

export class MemoryStore implements MetadataStore {
  #state: State = emptyState();
  readonly #operations = new Operations();
  readonly #watchers: Watchers;
  #reachable = true;
  #closed = false;

  constructor(clock: Clock) {
    this.#watchers = new Watchers(clock);
  }

  /** False: every call rejects, as when the store cannot be reached. */
  setReachable(reachable: boolean): void {
    this.#reachable = reachable;
  }

  /** A copy of all that is kept now, for `restore`. */
  snapshot(): State {
    return copyOf(this.#state);
  }

  /** Back to an earlier state, as after a failover to a replica that lags. Without one: empty. */
  restore(state: State = emptyState()): void {
    this.#state = copyOf(state);
  }

  async nextEpoch(partition: PartitionId, atLeast: number): Promise<number> {
    const { epochs } = this.#open();
    const epoch = nextEpoch(epochs.get(partition) ?? 0, atLeast);
    epochs.set(partition, epoch);
    return epoch;
  }

  async claim(partition: PartitionId, claim: Claim, operation: string): Promise<Compared<Claim>> {
    const { claims } = this.#open();
    if (this.#operations.has(`claim ${partition}`, operation)) return STORED;
    const current = claims.get(partition) ?? null;
    if (!claimWins(current, claim)) return { kind: 'lost', current };
    claims.set(partition, claim);
    this.#done('claim', partition, operation);
    return STORED;
  }

  async readClaim(partition: PartitionId): Promise<Claim | null> {
    return this.#open().claims.get(partition) ?? null;
  }

  async putHead(partition: PartitionId, head: ChainHead, ballot: Ballot, operation: string): Promise<Compared<ChainHead>> {
    const { heads } = this.#open();
    if (this.#operations.has(`head ${partition}`, operation)) return STORED;
    const current = heads.get(partition) ?? null;
    if (!headWins(current, head, ballot)) return { kind: 'lost', current: current?.head ?? null };
    heads.set(partition, { head, ballot });
    this.#done('head', partition, operation);
    return STORED;
  }

  async readHead(partition: PartitionId): Promise<ChainHead | null> {
    return this.#open().heads.get(partition)?.head ?? null;
  }

  async putCursors(updates: readonly CursorUpdate[]): Promise<void> {
    const { cursors } = this.#open();
    for (const { partition, subscription, blocks } of updates) {
      const ofPartition = cursors.get(partition) ?? new Map<string, Map<string, CursorBlock>>();
      const ofSubscription = ofPartition.get(subscription) ?? new Map<string, CursorBlock>();
      for (const [name, block] of blocks) {
        if (block === null) ofSubscription.delete(name);
        else if (blockWins(ofSubscription.get(name)?.resetEpoch ?? null, block)) ofSubscription.set(name, block);
      }
      ofPartition.set(subscription, ofSubscription);
      cursors.set(partition, ofPartition);
    }
  }

  async readCursor(partition: PartitionId, subscription: string): Promise<ReadonlyMap<string, CursorBlock>> {
    return new Map(this.#open().cursors.get(partition)?.get(subscription));
  }

  async dropCursor(partition: PartitionId, subscription: string): Promise<void> {
    this.#open().cursors.get(partition)?.delete(subscription);
  }

  async dropPartition(partition: PartitionId): Promise<void> {
    const { epochs, claims, heads, cursors } = this.#open();
    for (const kept of [epochs, claims, heads, cursors]) kept.delete(partition);
  }

  async putRecord(key: string, value: Buffer, version: number, operation: string): Promise<Compared<{ value: Buffer; version: number }>> {
    const { records } = this.#open();
    if (this.#operations.has(`record ${key}`, operation)) return STORED;
    const current = records.get(key) ?? null;
    if (!recordWins(current?.version ?? 0, version)) return { kind: 'lost', current: current && copyRecord(current) };
    records.set(key, { value: Buffer.from(value), version: version + 1 });
    this.#operations.add(`record ${key}`, operation);
    this.#watchers.tell({ kind: 'record', key });
    return STORED;
  }

  async readRecord(key: string): Promise<{ value: Buffer; version: number } | null> {
    const record = this.#open().records.get(key);
    return record ? copyRecord(record) : null;
  }

  async listRecords(prefix: string): Promise<readonly { key: string; value: Buffer; version: number }[]> {
    const found = [...this.#open().records].filter(([key]) => key.startsWith(prefix));
    return found.map(([key, record]) => ({ key, ...copyRecord(record) })).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  watch(prefix: string, onChange: (change: MetadataChange) => void): () => void {
    return this.#watchers.add(prefix, onChange);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watchers.clear();
  }

  #open(): State {
    if (this.#closed) throw new MetadataError('the metadata store is closed');
    if (!this.#reachable) throw new MetadataError('the metadata store cannot be reached');
    return this.#state;
  }

  #done(kind: 'claim' | 'head', partition: PartitionId, operation: string): void {
    this.#operations.add(`${kind} ${partition}`, operation);
    this.#watchers.tell({ kind, partition });
  }
}

function emptyState(): State {
  return { epochs: new Map(), claims: new Map(), heads: new Map(), cursors: new Map(), records: new Map() };
}

function copyOf(state: State): State {
  const cursors: State['cursors'] = new Map();
  for (const [partition, subscriptions] of state.cursors) {
    cursors.set(partition, new Map([...subscriptions].map(([name, blocks]) => [name, new Map(blocks)])));
  }
  return {
    epochs: new Map(state.epochs),
    claims: new Map(state.claims),
    heads: new Map(state.heads),
    cursors,
    records: new Map(state.records),
  };
}

const copyRecord = ({ value, version }: StoredRecord) => ({ value: Buffer.from(value), version });
