// Administration: tenants, namespaces, topics, subscriptions. Each change carries a random operation id, so that it can be repeated when
// its answer was lost. Lists are read page by page as they are iterated. Refusals are thrown as `SluiceError`.

import { isErrorCode } from '#lib/rpc/status.ts';
import { SluiceError } from '#lib/types/errors.ts';
import { type Calls, type Fields, fieldsOf, listOf, numberOf, textOf, textsOf } from './calls.ts';
import { positionOf } from './options.ts';
import type {
  ClusterDescription,
  ConsumerStatus,
  Namespace,
  PartitionStatus,
  Policies,
  Start,
  Subscription,
  SubscriptionPartition,
  SubscriptionType,
  Tenant,
  Topic,
  TopicDescription,
} from './types.ts';
import type { ClientWorld } from './world.ts';

export interface CreateTopic {
  readonly topic: string;
  /** Default: the namespace's. */
  readonly partitions?: number;
  readonly policies?: Policies;
}
export interface UpdateTopic {
  readonly topic: string;
  /** Replace all that the topic sets itself. */
  readonly policies: Policies;
  /** Of the topic as it is meant; another one is refused as `changed`. */
  readonly etag?: string;
}
export interface DeleteOptions {
  readonly etag?: string;
}
export interface SubscriptionRef {
  readonly topic: string;
  readonly subscription: string;
}
export interface CreateSubscription extends SubscriptionRef {
  readonly type?: 'exclusive';
  /** Default: latest. */
  readonly start?: Start;
}
export interface SeekSubscription extends SubscriptionRef {
  readonly to: Start;
  /** Default: every partition. */
  readonly partition?: number;
}

const PAGE = 500;
const TYPES: readonly SubscriptionType[] = ['unspecified', 'exclusive', 'failover', 'shared', 'key_shared'];

export class Admin {
  readonly #calls: Calls;
  readonly #world: ClientWorld;

  constructor(calls: Calls, world: ClientWorld) {
    this.#calls = calls;
    this.#world = world;
  }

  async describeCluster(): Promise<ClusterDescription> {
    const fields = await this.#calls.call('Admin', 'DescribeCluster', {});
    return {
      clusterId: textOf(fields, 'cluster_id'),
      version: textOf(fields, 'version'),
      protocolVersion: numberOf(fields, 'protocol_version'),
      features: textsOf(fields, 'features'),
      metadataVersion: numberOf(fields, 'metadata_version'),
    };
  }

  async createTenant(name: string): Promise<Tenant> {
    return tenantOf(await this.#change('CreateTenant', { name }));
  }

  listTenants(): AsyncIterableIterator<Tenant> {
    return this.#pages('ListTenants', {}, 'tenants', tenantOf);
  }

  async deleteTenant(name: string, options: DeleteOptions = {}): Promise<void> {
    await this.#change('DeleteTenant', { name, etag: options.etag ?? '' });
  }

  async createNamespace(name: string, policies: Policies = {}): Promise<Namespace> {
    return namespaceOf(await this.#change('CreateNamespace', { name, policies: policyFields(policies) }));
  }

  listNamespaces(tenant: string): AsyncIterableIterator<Namespace> {
    return this.#pages('ListNamespaces', { tenant }, 'namespaces', namespaceOf);
  }

  /** Replaces the policies whole. */
  async updateNamespace(name: string, policies: Policies, options: DeleteOptions = {}): Promise<Namespace> {
    return namespaceOf(await this.#change('UpdateNamespace', { name, policies: policyFields(policies), etag: options.etag ?? '' }));
  }

  async deleteNamespace(name: string, options: DeleteOptions = {}): Promise<void> {
    await this.#change('DeleteNamespace', { name, etag: options.etag ?? '' });
  }

  async createTopic(create: CreateTopic): Promise<Topic> {
    const policies = create.policies && policyFields(create.policies);
    return topicOf(await this.#change('CreateTopic', { name: create.topic, partitions: create.partitions ?? 0, policies }));
  }

  /** Of one namespace, `tenant/namespace`. Default: public/default. */
  listTopics(namespace = ''): AsyncIterableIterator<Topic> {
    return this.#pages('ListTopics', { namespace }, 'topics', topicOf);
  }

  async describeTopic(topic: string): Promise<TopicDescription> {
    const fields = await this.#calls.call('Admin', 'DescribeTopic', { name: topic });
    return {
      ...topicOf(fieldsOf(fields, 'topic')),
      effective: policiesOf(fieldsOf(fields, 'effective')),
      partitionStatus: listOf(fields, 'partitions').map(partitionStatusOf),
    };
  }

  async updateTopic(update: UpdateTopic): Promise<Topic> {
    const request = { name: update.topic, policies: policyFields(update.policies), etag: update.etag ?? '' };
    return topicOf(await this.#change('UpdateTopic', request));
  }

  async deleteTopic(topic: string, options: DeleteOptions = {}): Promise<void> {
    await this.#change('DeleteTopic', { name: topic, etag: options.etag ?? '' });
  }

  async createSubscription(create: CreateSubscription): Promise<Subscription> {
    const request = {
      topic: create.topic,
      name: create.subscription,
      type: TYPES.indexOf(create.type ?? 'exclusive'),
      start: positionFields(create.start ?? 'latest'),
    };
    return subscriptionOf(await this.#change('CreateSubscription', request));
  }

  listSubscriptions(topic: string): AsyncIterableIterator<Subscription> {
    return this.#pages('ListSubscriptions', { topic }, 'subscriptions', subscriptionOf);
  }

  async describeSubscription({ topic, subscription }: SubscriptionRef): Promise<Subscription> {
    return subscriptionOf(await this.#calls.call('Admin', 'DescribeSubscription', { topic, name: subscription }));
  }

  async seekSubscription({ topic, subscription, to, partition }: SeekSubscription): Promise<Subscription> {
    const request = { topic, name: subscription, to: positionFields(to), ...(partition === undefined ? {} : { partition }) };
    return subscriptionOf(await this.#change('SeekSubscription', request));
  }

  async deleteSubscription({ topic, subscription }: SubscriptionRef): Promise<void> {
    await this.#change('DeleteSubscription', { topic, name: subscription });
  }

  #change(method: string, request: Fields): Promise<Fields> {
    return this.#calls.call('Admin', method, { ...request, operation_id: this.#world.randomHex(16) });
  }

  async *#pages<T>(method: string, request: Fields, field: string, of: (fields: Fields) => T): AsyncIterableIterator<T> {
    let token = '';
    do {
      const page = await this.#calls.call('Admin', method, { ...request, page_size: PAGE, page_token: token });
      for (const item of listOf(page, field)) yield of(item);
      token = textOf(page, 'next_page_token');
    } while (token !== '');
  }
}

// ---- from and to the contract's fields ----

const tenantOf = (fields: Fields): Tenant => ({
  name: textOf(fields, 'name'),
  etag: textOf(fields, 'etag'),
  createdMs: numberOf(fields, 'created_ms'),
});

const namespaceOf = (fields: Fields): Namespace => ({ ...tenantOf(fields), policies: policiesOf(fieldsOf(fields, 'policies')) });

const topicOf = (fields: Fields): Topic => ({
  name: textOf(fields, 'name'),
  topicId: textOf(fields, 'topic_id'),
  partitions: numberOf(fields, 'partitions'),
  policies: policiesOf(fieldsOf(fields, 'policies')),
  etag: textOf(fields, 'etag'),
  createdMs: numberOf(fields, 'created_ms'),
});

const partitionStatusOf = (fields: Fields): PartitionStatus => ({
  partition: numberOf(fields, 'partition'),
  startOffset: numberOf(fields, 'start_offset'),
  endOffset: numberOf(fields, 'end_offset'),
  messages: numberOf(fields, 'messages'),
  bytes: numberOf(fields, 'bytes'),
  ledgers: numberOf(fields, 'ledgers'),
  producers: numberOf(fields, 'producers'),
  subscriptions: numberOf(fields, 'subscriptions'),
  error: errorOf(fieldsOf(fields, 'error')),
});

const subscriptionOf = (fields: Fields): Subscription => ({
  topic: textOf(fields, 'topic'),
  name: textOf(fields, 'name'),
  type: TYPES[numberOf(fields, 'type')] ?? 'unspecified',
  topicId: textOf(fields, 'topic_id'),
  createdMs: numberOf(fields, 'created_ms'),
  backlog: numberOf(fields, 'backlog'),
  partitions: listOf(fields, 'partitions').map(subscriptionPartitionOf),
});

const subscriptionPartitionOf = (fields: Fields): SubscriptionPartition => ({
  partition: numberOf(fields, 'partition'),
  resetEpoch: numberOf(fields, 'reset_epoch'),
  markDelete: numberOf(fields, 'mark_delete'),
  backlog: numberOf(fields, 'backlog'),
  endOffset: numberOf(fields, 'end_offset'),
  holes: numberOf(fields, 'holes'),
  consumers: listOf(fields, 'consumers').map(consumerStatusOf),
});

const consumerStatusOf = (fields: Fields): ConsumerStatus => ({
  name: textOf(fields, 'name'),
  address: textOf(fields, 'address'),
  client: textOf(fields, 'client'),
  attachedMs: numberOf(fields, 'attached_ms'),
});

function errorOf(fields: Fields): SluiceError | null {
  const reason = textOf(fields, 'reason');
  if (reason === '') return null;
  return new SluiceError({
    kind: 'failure',
    code: isErrorCode(reason) ? reason : 'internal',
    message: textOf(fields, 'message'),
    stored: 'no',
    detail: {},
    retryAfterMs: numberOf(fields, 'retry_after_ms'),
  });
}

/** A policy that is not set has no value in the contract either. With proto-loader an optional that is set names itself. */
function policiesOf(fields: Fields): Policies {
  const has = (name: string): boolean => fields[`_${name}`] === name;
  return {
    ...(has('retention_ms') ? { retentionMs: numberOf(fields, 'retention_ms') } : {}),
    ...(has('backlog_bytes_max') ? { backlogBytesMax: numberOf(fields, 'backlog_bytes_max') } : {}),
    ...(has('auto_create_topics') ? { autoCreateTopics: fields['auto_create_topics'] === true } : {}),
    ...(has('default_partitions') ? { defaultPartitions: numberOf(fields, 'default_partitions') } : {}),
    ...(has('dedup_window_ms') ? { dedupWindowMs: numberOf(fields, 'dedup_window_ms') } : {}),
  };
}

function policyFields(policies: Policies): Fields {
  return {
    ...(policies.retentionMs === undefined ? {} : { retention_ms: policies.retentionMs }),
    ...(policies.backlogBytesMax === undefined ? {} : { backlog_bytes_max: policies.backlogBytesMax }),
    ...(policies.autoCreateTopics === undefined ? {} : { auto_create_topics: policies.autoCreateTopics }),
    ...(policies.defaultPartitions === undefined ? {} : { default_partitions: policies.defaultPartitions }),
    ...(policies.dedupWindowMs === undefined ? {} : { dedup_window_ms: policies.dedupWindowMs }),
  };
}

function positionFields(start: Start): Fields {
  const position = positionOf(start);
  switch (position.kind) {
    case 'earliest':
      return { earliest: true };
    case 'latest':
      return { latest: true };
    case 'offset':
      return { offset: position.offset };
    case 'time':
      return { time_ms: position.timeMs };
  }
}
