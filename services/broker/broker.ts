// One broker: the catalog, the partitions that it owns, and the gRPC edge over them. It is built from ports and holds nothing that is not
// in the log or can be read from it; `close` hands everything over.

import type { BookieTransport, LedgerDescriptor } from '#lib/ledger/protocol.ts';
import type { MetadataStore } from '#lib/metadata/store.ts';
import { loadContract } from '#lib/rpc/protobuf.ts';
import { createRpcServer, RPC_DEFAULTS, type RpcServer, type RpcServerConfig } from '#lib/rpc/server.ts';
import type { Timer, World } from '#lib/runtime/ports.ts';
import { type PartitionId, parsePartitionId, partitionId, type TopicId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure, SluiceError } from '#lib/types/errors.ts';
import { newIncarnation, newTopicId } from '#lib/types/ids.ts';
import { KIB, MIB } from '#lib/types/limits.ts';
import { ReadAhead } from './cache/read-ahead.ts';
import { TailCache } from './cache/tail-cache.ts';
import { CATALOG_PARTITION, CATALOG_TOPIC, findCatalogBase } from './catalog/base.ts';
import { CATALOG_DEFAULTS, type Catalog, type CatalogSettings, openCatalog } from './catalog/catalog.ts';
import type { EffectiveSettings, FirstLedger, Topic } from './catalog/core/model.ts';
import { LOG_DEFAULTS, type LogDeps, type LogSettings, newFirstLedger, openPartitionLog } from './log/partition-log.ts';
import { declareBrokerMetrics, type MetricSink } from './metrics.ts';
import { Partitions, type PartitionsLimits } from './ownership/partitions.ts';
import { Purges } from './ownership/purge.ts';
import { StorageLimit, type SweepRhythm } from './ownership/storage-limit.ts';
import type { EffectivePolicies } from './partition/api.ts';
import { CursorWriter } from './partition/cursor-writer.ts';
import { type OwnedPartition, openPartition } from './partition/partition.ts';
import { PARTITION_DEFAULTS, type PartitionSettings } from './partition/settings.ts';
import { BytePool } from './rpc/byte-pool.ts';
import type { Edge, EdgeLimits } from './rpc/edge.ts';
import { brokerServices } from './rpc/services.ts';
import { Topics } from './topics.ts';

/** What the composing service gives; `BrokerConfig` of `config.ts` fills most of it. */
export interface BrokerSettings {
  /** HOST:PORT */
  readonly listen: string;
  readonly tailCacheBytes: number;
  readonly readAheadBytes: number;
  readonly intakeBytes: number;
  readonly outboxBytes: number;
  readonly rpc: Partial<RpcServerConfig>;
  readonly edge: Partial<EdgeLimits>;
  readonly partitions: Partial<PartitionsLimits>;
  readonly partition: Partial<PartitionSettings>;
  readonly log: Partial<LogSettings>;
  readonly catalog: Partial<CatalogSettings>;
  /** What holds where no topic and no namespace says otherwise. */
  readonly policies: EffectiveSettings;
  /** Bytes of all topics together; -1: no limit. */
  readonly storageLimitBytes: number;
  readonly sweep?: SweepRhythm;
}

export interface BrokerDeps {
  readonly transport: BookieTransport;
  readonly metadata: MetadataStore;
  readonly clusterId: string;
  /** As other brokers know it. */
  readonly name: string;
  readonly metrics?: MetricSink;
}

export interface Broker {
  /** The real one, with the port that was taken for 0. */
  readonly address: string;
  readonly port: number;
  readonly edge: Edge;
  readonly catalog: Catalog;
  status(): { readonly topics: number; readonly openPartitions: number; readonly pendingPurges: number };
  /** Hands over: seals and lets go what it owns. Calls that run get `graceMs`. */
  close(graceMs?: number): Promise<void>;
}

export const EDGE_DEFAULTS: EdgeLimits = {
  streamIntakeBytesMax: 16 * MIB,
  streamIntakeBatchesMax: 8_192,
  streamOutboxBytesMax: MIB,
  streamRequestsMax: 10_000,
  handlesMax: 10_000,
  responsePackBytes: 512 * KIB,
  keepaliveMs: 3_000,
};

export const PARTITIONS_DEFAULTS: PartitionsLimits = { openMax: 2_000, idleCloseMs: 60_000, openingMax: 16 };

const STOPPING: Failure = fail('unavailable', 'the server is stopping', {}, 500);
const MAINTAIN_MS = 1_000;
const CLOSE_GRACE_MS = 1_000;

/** Resolves once it serves. Rejects with `ListenError`, or with a `SluiceError` when the catalog cannot be had. */
export async function createBroker(world: World, settings: BrokerSettings, deps: BrokerDeps): Promise<Broker> {
  const broker = new RunningBroker(world, settings, deps);
  try {
    await broker.start();
  } catch (error) {
    await broker.close(0);
    throw error;
  }
  return broker;
}

class RunningBroker implements Broker {
  readonly #world: World;
  readonly #settings: BrokerSettings;
  readonly #deps: BrokerDeps;
  readonly #logDeps: LogDeps;
  readonly #partitionSettings: PartitionSettings;
  readonly #tailCache: TailCache;
  readonly #readAhead: ReadAhead;
  readonly #cursorWriter: CursorWriter;
  readonly #partitions: Partitions;
  #catalog: Catalog | null = null;
  #edge: Topics | null = null;
  #purges: Purges | null = null;
  #storageLimit: StorageLimit | null = null;
  #server: RpcServer | null = null;
  #timer: Timer | null = null;
  #closing: Promise<void> | null = null;

  constructor(world: World, settings: BrokerSettings, deps: BrokerDeps) {
    const source = idSource(world);
    this.#world = world;
    this.#settings = settings;
    this.#deps = deps;
    this.#partitionSettings = { ...PARTITION_DEFAULTS, ...settings.partition };
    this.#logDeps = {
      world,
      transport: deps.transport,
      metadata: deps.metadata,
      broker: deps.name,
      incarnation: newIncarnation(source),
      settings: { ...LOG_DEFAULTS, ...settings.log },
      epochs: new Map(),
    };
    this.#tailCache = new TailCache(settings.tailCacheBytes);
    this.#readAhead = new ReadAhead(settings.readAheadBytes);
    this.#cursorWriter = new CursorWriter(world, deps.metadata);
    this.#partitions = new Partitions({
      clock: world.clock,
      logger: world.logger,
      open: (partition, onEnded) => this.#openPartition(partition, onEnded),
      limits: { ...PARTITIONS_DEFAULTS, ...settings.partitions },
    });
  }

  get address(): string {
    return must(this.#server).address;
  }
  get port(): number {
    return must(this.#server).port;
  }
  get edge(): Edge {
    return must(this.#edge);
  }
  get catalog(): Catalog {
    return must(this.#catalog);
  }

  status(): { topics: number; openPartitions: number; pendingPurges: number } {
    return {
      topics: this.catalog.state.topicCount,
      openPartitions: this.#partitions.size,
      pendingPurges: this.#purges?.pending ?? 0,
    };
  }

  async start(): Promise<void> {
    const catalog = await this.#openCatalog();
    if (isFailure(catalog)) throw new SluiceError(catalog);
    this.#catalog = catalog;
    const { clock, logger, random } = this.#world;
    const settings = this.#settings;
    const edge = new Topics(catalog, this.#partitions, {
      clock,
      logger,
      random: () => random.next(),
      randomName: () => random.bytes(4).toString('hex'),
      clusterId: this.#deps.clusterId,
      limits: { ...EDGE_DEFAULTS, ...settings.edge },
      intakePool: new BytePool(settings.intakeBytes),
      outboxPool: new BytePool(settings.outboxBytes),
    });
    this.#edge = edge;
    const purges = new Purges(this.#logDeps, catalog, this.#partitions);
    this.#purges = purges;
    this.#storageLimit = new StorageLimit(this.#logDeps, catalog, this.#partitions, settings.storageLimitBytes, settings.sweep);
    const contract = loadContract();
    this.#server = await createRpcServer(
      { ...RPC_DEFAULTS, ...settings.rpc, listen: settings.listen },
      {
        clock,
        logger,
        contract,
        services: gates =>
          brokerServices(contract, gates, {
            edge,
            catalog,
            onPoliciesChanged: () => this.#applyPolicies(),
            onTopicPurged: topic => purges.add(topic),
          }),
      },
    );
    if (this.#deps.metrics) this.#declareMetrics(this.#deps.metrics, edge, this.#server);
    for (const topic of catalog.state.purging()) purges.add(topic);
    this.#arm();
  }

  close(graceMs = CLOSE_GRACE_MS): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    this.#purges?.close();
    this.#storageLimit?.close();
    this.#server?.setServing(false);
    // Partitions first: producers and consumers hear why they end while their streams still stand.
    await this.#partitions.close();
    for (const stream of [...(this.#edge?.streams ?? [])]) stream.stop(STOPPING);
    await this.#server?.close(graceMs);
    await this.#cursorWriter.flush();
    await this.#catalog?.close();
  }

  // ---- what it opens ----

  async #openCatalog(): Promise<Catalog | Failure> {
    const base = await findCatalogBase(this.#logDeps);
    if (isFailure(base)) return base;
    const source = idSource(this.#world);
    return openCatalog({
      world: this.#world,
      openLog: events => openPartitionLog(this.#logDeps, CATALOG_PARTITION, CATALOG_TOPIC, base.start, base.firstLedger, events),
      serverSettings: this.#settings.policies,
      context: { newTopicId: () => newTopicId(source), newFirstLedger: (topic, index) => this.#newFirstLedger(topic, index) },
      settings: { ...CATALOG_DEFAULTS, ...this.#settings.catalog },
      onLost: reason => this.#onCatalogLost(reason),
    });
  }

  #newFirstLedger(topic: TopicId, index: number): FirstLedger | Failure {
    const made = newFirstLedger(this.#logDeps, partitionId(topic, index), topic);
    if (isFailure(made)) return made;
    const { ledger, ensemble, ackQuorum, creator } = made;
    return { ledger, ensemble, ackQuorum, creator };
  }

  async #openPartition(partition: PartitionId, onEnded: (reason: Failure) => void): Promise<OwnedPartition | Failure> {
    const { topic: id, partition: index } = parsePartitionId(partition);
    const { state } = this.catalog;
    const topic = state.topicById(id) ?? state.purging().find(purging => purging.id === id);
    const first = topic?.ledgers[index];
    if (!topic || !first) return fail('topic_not_found', 'the topic has been deleted');
    const firstLedger: LedgerDescriptor = { ...first, partition, topic: topic.id, prev: null };
    const isNew = first.creator.incarnation === this.#logDeps.incarnation;
    return openPartition({
      world: this.#world,
      partition,
      openLog: events => openPartitionLog(this.#logDeps, partition, topic.id, { kind: isNew ? 'new' : 'existing' }, firstLedger, events),
      metadata: this.#deps.metadata,
      tailCache: this.#tailCache,
      readAhead: this.#readAhead,
      cursorWriter: this.#cursorWriter,
      policies: this.#policiesOf(topic),
      settings: this.#partitionSettings,
      onEnded,
    });
  }

  #policiesOf(topic: Topic): EffectivePolicies {
    const { retentionMs, backlogBytesMax, dedupWindowMs } = this.catalog.state.topicSettings(topic);
    return { retentionMs, backlogBytesMax, dedupWindowMs };
  }

  #applyPolicies(): void {
    for (const [id] of this.#partitions.open()) {
      const topic = this.catalog.state.topicById(parsePartitionId(id).topic);
      if (topic) this.#partitions.setPolicies(id, this.#policiesOf(topic));
    }
  }

  // ---- what it does by itself ----

  #arm(): void {
    if (this.#closing) return;
    this.#timer = this.#world.clock.after(MAINTAIN_MS, () => {
      const now = this.#world.clock.now();
      this.#partitions.maintain(now);
      this.#storageLimit?.maintain(now);
      this.#arm();
    });
  }

  #onCatalogLost(reason: Failure): void {
    if (this.#closing) return;
    this.#world.fatal(`the catalog is lost: ${reason.message}`);
  }

  #declareMetrics(sink: MetricSink, edge: Edge, server: RpcServer): void {
    declareBrokerMetrics(sink, {
      edge,
      server,
      topics: () => this.catalog.state.topicCount,
      openPartitions: () => this.#partitions.size,
      pendingPurges: () => this.#purges?.pending ?? 0,
      storedBytes: () => this.#storageLimit?.storedBytes ?? 0,
      tailCacheBytes: () => this.#tailCache.usedBytes,
      readAheadBytes: () => this.#readAhead.usedBytes,
      trimmedForLimit: () => this.#storageLimit?.trims ?? 0,
    });
  }
}

function idSource(world: World): { now(): number; randomBytes(count: number): Buffer } {
  return { now: () => world.clock.now(), randomBytes: count => world.random.bytes(count) };
}

function must<T>(value: T | null): T {
  if (value === null) throw new SluiceError(fail('unavailable', 'the server is starting'));
  return value;
}
