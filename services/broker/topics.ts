// The edge's view of the broker: topics by name from the catalog, made on demand where policy allows it, and leases of their partitions.

import type { Clock, Logger } from '#lib/runtime/ports.ts';
import { partitionId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import type { Catalog } from './catalog/catalog.ts';
import { NO_POLICIES, namespaceOfTopic, type Topic } from './catalog/core/model.ts';
import type { Partitions } from './ownership/partitions.ts';
import { TOPIC_DELETED } from './ownership/purge.ts';
import type { BytePool } from './rpc/byte-pool.ts';
import type { Edge, EdgeLimits, EdgeMetrics, LongCall, PartitionLease, TopicView } from './rpc/edge.ts';

type Shared = Pick<Edge, 'clock' | 'logger' | 'random' | 'randomName' | 'clusterId' | 'limits' | 'intakePool' | 'outboxPool'>;

export class Topics implements Edge {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly clusterId: string;
  readonly limits: EdgeLimits;
  readonly intakePool: BytePool;
  readonly outboxPool: BytePool;
  readonly random: () => number;
  readonly randomName: () => string;
  readonly streams = new Set<LongCall>();
  readonly metrics: EdgeMetrics = {
    publishStreams: 0,
    subscribeStreams: 0,
    readStreams: 0,
    publishedBatches: 0,
    publishedMessages: 0,
    publishedBytes: 0,
    refusedBatches: 0,
    deliveredEntries: 0,
    deliveredBytes: 0,
    acknowledgements: 0,
    responses: 0,
    requests: 0,
  };
  readonly #catalog: Catalog;
  readonly #partitions: Partitions;

  constructor(catalog: Catalog, partitions: Partitions, shared: Shared) {
    this.#catalog = catalog;
    this.#partitions = partitions;
    this.clock = shared.clock;
    this.logger = shared.logger;
    this.clusterId = shared.clusterId;
    this.limits = shared.limits;
    this.intakePool = shared.intakePool;
    this.outboxPool = shared.outboxPool;
    this.random = shared.random;
    this.randomName = shared.randomName;
  }

  async findTopic(name: string, id: string): Promise<TopicView | Failure> {
    const topic = this.#catalog.state.findTopic('topic', name);
    if (isFailure(topic)) return topic;
    return this.#view(topic, id);
  }

  async findOrCreateTopic(name: string, id: string): Promise<TopicView | Failure> {
    const { state } = this.#catalog;
    const topic = state.findTopic('topic', name);
    if (!isFailure(topic)) return this.#view(topic, id);
    const fullName = topic.detail['topic'];
    if (topic.code !== 'topic_not_found' || id !== '' || fullName === undefined) return topic;
    const namespace = state.namespace(namespaceOfTopic(fullName));
    if (!namespace || !state.namespaceSettings(namespace).autoCreateTopics)
      return { ...topic, message: `${topic.message}, and producing does not create topics in ${namespaceOfTopic(fullName)}` };
    const command = { kind: 'create_topic', name: fullName, partitions: 0, policies: NO_POLICIES, orExisting: true } as const;
    const made = await this.#catalog.change(command);
    if (isFailure(made)) return made;
    if (made.kind !== 'topic') return fail('internal', 'a topic was made, and is none');
    return viewOf(made.topic);
  }

  async leasePartition(topic: TopicView, index: number, onClosed: (reason: Failure) => void): Promise<PartitionLease | Failure> {
    if (!this.#catalog.state.topicById(topic.id)) return TOPIC_DELETED;
    const lease = await this.#partitions.lease(partitionId(topic.id, index), onClosed);
    if (isFailure(lease) || this.#catalog.state.topicById(topic.id)) return lease;
    lease.release();
    return TOPIC_DELETED;
  }

  /** Waits for what a crash could still take back. */
  async #view(topic: Topic, id: string): Promise<TopicView | Failure> {
    if (id !== '' && id !== topic.id)
      return fail('topic_not_found', `topic ${topic.name} is ${topic.id} now; ${id.slice(0, 40)} has been deleted`, {
        topic: topic.name,
        topic_id: topic.id,
      });
    if (this.#catalog.isSettled) return viewOf(topic);
    return (await this.#catalog.settled()) ?? viewOf(topic);
  }
}

function viewOf(topic: Topic): TopicView {
  return { id: topic.id, name: topic.name, partitions: topic.partitions, version: topic.version };
}
