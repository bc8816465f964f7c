// The Admin service and Lookup. What the catalog knows is answered from it; what partitions know is asked of each, a few at a time. A
// call with an operation id may be repeated.

import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { checkName } from '#lib/types/names.ts';
import { VERSION } from '#lib/types/version.ts';
import type { PositionFrame, SubscriptionTypeNumber } from '#lib/wire/frames.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Command } from '../catalog/core/catalog.ts';
import type { Topic } from '../catalog/core/model.ts';
import type { Outcome } from '../catalog/core/record.ts';
import type { Partition, SubscriptionStatus } from '../partition/api.ts';
import {
  cutPage,
  errorMessage,
  type Fields,
  namespaceMessage,
  numberOf,
  optionalNumberOf,
  pageOf,
  policiesMessage,
  policiesOf,
  positionOf,
  subscriptionMessage,
  tenantMessage,
  textOf,
  topicMessage,
  typeOf,
} from './admin-values.ts';
import type { Edge } from './edge.ts';
import { FEATURES, PROTOCOL_VERSION } from './hello.ts';
import { noSuchPartition } from './publish.ts';

export interface AdminDeps {
  readonly edge: Edge;
  readonly catalog: Catalog;
  /** A topic's policies, or a namespace's, have changed. */
  onPoliciesChanged(): void;
  /** A topic has been purged in the catalog: its data goes, and who uses it is told. */
  onTopicPurged(topic: Topic): void;
}

/** What one call answers. */
export type AdminHandler = (request: Fields) => Promise<Fields | Failure>;

/** Partitions of one topic that are asked at the same time. */
const PARTITIONS_AT_A_TIME = 8;

export function adminHandlers(deps: AdminDeps): Readonly<Record<string, AdminHandler>> {
  const admin = new Admin(deps);
  return {
    DescribeCluster: () => admin.describeCluster(),
    CreateTenant: request => admin.createTenant(request),
    ListTenants: request => admin.listTenants(request),
    DeleteTenant: request => admin.deleteTenant(request),
    CreateNamespace: request => admin.createNamespace(request),
    ListNamespaces: request => admin.listNamespaces(request),
    UpdateNamespace: request => admin.updateNamespace(request),
    DeleteNamespace: request => admin.deleteNamespace(request),
    CreateTopic: request => admin.createTopic(request),
    ListTopics: request => admin.listTopics(request),
    DescribeTopic: request => admin.describeTopic(request),
    UpdateTopic: request => admin.updateTopic(request),
    DeleteTopic: request => admin.deleteTopic(request),
    CreateSubscription: request => admin.createSubscription(request),
    ListSubscriptions: request => admin.listSubscriptions(request),
    DescribeSubscription: request => admin.describeSubscription(request),
    SeekSubscription: request => admin.seekSubscription(request),
    DeleteSubscription: request => admin.deleteSubscription(request),
  };
}

export function lookupHandler(edge: Edge): AdminHandler {
  return async request => {
    const name = textOf(request, 'topic');
    const topic = request['create'] === true ? await edge.findOrCreateTopic(name, '') : await edge.findTopic(name, '');
    if (isFailure(topic)) return topic;
    // An empty address means: here.
    const partitions = Array.from({ length: topic.partitions }, (_, partition) => ({ partition, address: '', tls_server_name: '' }));
    return { topic_id: topic.id, topic: topic.name, partitions, metadata_version: topic.version };
  };
}

class Admin {
  readonly #deps: AdminDeps;

  constructor(deps: AdminDeps) {
    this.#deps = deps;
  }

  async describeCluster(): Promise<Fields> {
    return {
      cluster_id: this.#deps.edge.clusterId,
      version: VERSION,
      protocol_version: PROTOCOL_VERSION,
      features: FEATURES,
      metadata_version: this.#deps.catalog.state.version,
    };
  }

  // ---- tenants ----

  async createTenant(request: Fields): Promise<Fields | Failure> {
    const outcome = await this.#change({ kind: 'create_tenant', name: textOf(request, 'name') }, request);
    return isFailure(outcome) ? outcome : answer(outcome);
  }

  async listTenants(request: Fields): Promise<Fields | Failure> {
    const page = pageOf(request, 'tenants');
    if (isFailure(page)) return page;
    const lost = await this.#deps.catalog.settled();
    if (lost) return lost;
    const { items, nextToken } = cutPage(this.#deps.catalog.state.tenants(), page, 'tenants');
    return { tenants: items.map(tenantMessage), next_page_token: nextToken };
  }

  async deleteTenant(request: Fields): Promise<Fields | Failure> {
    const outcome = await this.#change({ kind: 'delete_tenant', name: textOf(request, 'name'), etag: textOf(request, 'etag') }, request);
    return isFailure(outcome) ? outcome : {};
  }

  // ---- namespaces ----

  async createNamespace(request: Fields): Promise<Fields | Failure> {
    const command = { kind: 'create_namespace', name: textOf(request, 'name'), policies: policiesOf(request) } as const;
    const outcome = await this.#change(command, request);
    return isFailure(outcome) ? outcome : answer(outcome);
  }

  async listNamespaces(request: Fields): Promise<Fields | Failure> {
    const tenant = this.#deps.catalog.state.findTenant('tenant', textOf(request, 'tenant'));
    if (isFailure(tenant)) return tenant;
    const list = `namespaces of ${tenant.name}`;
    const page = pageOf(request, list);
    if (isFailure(page)) return page;
    const lost = await this.#deps.catalog.settled();
    if (lost) return lost;
    const { items, nextToken } = cutPage(this.#deps.catalog.state.namespaces(tenant.name), page, list);
    return { namespaces: items.map(namespaceMessage), next_page_token: nextToken };
  }

  async updateNamespace(request: Fields): Promise<Fields | Failure> {
    const command = {
      kind: 'update_namespace',
      name: textOf(request, 'name'),
      policies: policiesOf(request),
      etag: textOf(request, 'etag'),
    } as const;
    const outcome = await this.#change(command, request);
    if (isFailure(outcome)) return outcome;
    this.#deps.onPoliciesChanged();
    return answer(outcome);
  }

  async deleteNamespace(request: Fields): Promise<Fields | Failure> {
    const command = { kind: 'delete_namespace', name: textOf(request, 'name'), etag: textOf(request, 'etag') } as const;
    const outcome = await this.#change(command, request);
    return isFailure(outcome) ? outcome : {};
  }

  // ---- topics ----

  async createTopic(request: Fields): Promise<Fields | Failure> {
    const command = {
      kind: 'create_topic',
      name: textOf(request, 'name'),
      partitions: numberOf(request, 'partitions'),
      policies: policiesOf(request),
      orExisting: false,
    } as const;
    const outcome = await this.#change(command, request);
    return isFailure(outcome) ? outcome : answer(outcome);
  }

  async listTopics(request: Fields): Promise<Fields | Failure> {
    const { state } = this.#deps.catalog;
    const namespace = state.findNamespace('namespace', textOf(request, 'namespace'));
    if (isFailure(namespace)) return namespace;
    const list = `topics of ${namespace.name}`;
    const page = pageOf(request, list);
    if (isFailure(page)) return page;
    const lost = await this.#deps.catalog.settled();
    if (lost) return lost;
    const { items, nextToken } = cutPage(state.topicsOf(namespace.name), page, list);
    return { topics: items.map(topicMessage), next_page_token: nextToken };
  }

  async describeTopic(request: Fields): Promise<Fields | Failure> {
    const topic = await this.#topic(request, 'name');
    if (isFailure(topic)) return topic;
    const partitions = await this.#each(topic, async (partition, index) => {
      if (isFailure(partition)) return { partition: index, error: errorMessage(partition) };
      const status = partition.status();
      return {
        partition: index,
        start_offset: status.startOffset,
        end_offset: status.endOffset,
        messages: status.messages,
        bytes: status.bytes,
        ledgers: status.ledgers,
        producers: status.producers,
        subscriptions: status.subscriptions,
      };
    });
    return { topic: topicMessage(topic), effective: policiesMessage(this.#deps.catalog.state.topicSettings(topic)), partitions };
  }

  async updateTopic(request: Fields): Promise<Fields | Failure> {
    const command = {
      kind: 'update_topic',
      name: textOf(request, 'name'),
      policies: policiesOf(request),
      etag: textOf(request, 'etag'),
    } as const;
    const outcome = await this.#change(command, request);
    if (isFailure(outcome)) return outcome;
    this.#deps.onPoliciesChanged();
    return answer(outcome);
  }

  async deleteTopic(request: Fields): Promise<Fields | Failure> {
    const name = textOf(request, 'name');
    const before = this.#deps.catalog.state.findTopic('name', name);
    const outcome = await this.#change({ kind: 'delete_topic', name, etag: textOf(request, 'etag') }, request);
    if (isFailure(outcome)) return outcome;
    // A repeat finds the topic gone, or another one in its place, which stays.
    if (!isFailure(before) && !this.#deps.catalog.state.topicById(before.id)) this.#deps.onTopicPurged(before);
    return {};
  }

  // ---- subscriptions ----

  async createSubscription(request: Fields): Promise<Fields | Failure> {
    const topic = await this.#topic(request, 'topic');
    if (isFailure(topic)) return topic;
    const name = textOf(request, 'name');
    const type = typeOf(request);
    const start = positionOf(request, 'start');
    const wrong = checkName('name', name) ?? (isFailure(type) ? type : undefined) ?? (isFailure(start) ? start : undefined);
    if (wrong || isFailure(type) || isFailure(start)) return wrong ?? fail('invalid_argument', 'the request is wrong');
    return this.#subscription(topic, partition => create(partition, name, type, start));
  }

  async listSubscriptions(request: Fields): Promise<Fields | Failure> {
    const topic = await this.#topic(request, 'topic');
    if (isFailure(topic)) return topic;
    const list = `subscriptions of ${topic.id}`;
    const page = pageOf(request, list);
    if (isFailure(page)) return page;
    const all = await this.#each(topic, async partition => (isFailure(partition) ? partition : partition.subscriptions()));
    const byName = new Map<string, (readonly [number, SubscriptionStatus])[]>();
    for (const [index, statuses] of all.entries()) {
      if (isFailure(statuses)) return statuses;
      for (const status of statuses) byName.set(status.name, [...(byName.get(status.name) ?? []), [index, status]]);
    }
    const sorted = [...byName].map(([name, parts]) => ({ name, parts })).sort((a, b) => (a.name < b.name ? -1 : 1));
    const { items, nextToken } = cutPage(sorted, page, list);
    return { subscriptions: items.map(({ parts }) => subscriptionMessage(topic, parts)), next_page_token: nextToken };
  }

  async describeSubscription(request: Fields): Promise<Fields | Failure> {
    const topic = await this.#topic(request, 'topic');
    if (isFailure(topic)) return topic;
    const name = textOf(request, 'name');
    const wrong = checkName('name', name);
    if (wrong) return wrong;
    const found = await this.#each(topic, async partition =>
      isFailure(partition) ? partition : (partition.subscriptions().find(status => status.name === name) ?? null),
    );
    const parts: (readonly [number, SubscriptionStatus])[] = [];
    for (const [index, status] of found.entries()) {
      if (isFailure(status)) return status;
      if (status) parts.push([index, status]);
    }
    return parts.length > 0 ? subscriptionMessage(topic, parts) : noSubscription(topic, name);
  }

  async seekSubscription(request: Fields): Promise<Fields | Failure> {
    const topic = await this.#topic(request, 'topic');
    if (isFailure(topic)) return topic;
    const name = textOf(request, 'name');
    const to = positionOf(request, 'to');
    const wrong = checkName('name', name) ?? (isFailure(to) ? to : undefined);
    if (wrong || isFailure(to) || to === null) return wrong ?? fail('invalid_argument', 'to is not given', { field: 'to' });
    const only = optionalNumberOf(request, 'partition');
    if (only !== null && only >= topic.partitions) return noSuchPartition('partition', only, topic);
    const exists = await this.#each(topic, async partition =>
      isFailure(partition) ? partition : partition.subscriptions().some(status => status.name === name),
    );
    const broken = exists.find(isFailure);
    if (broken) return broken;
    if (!exists.some(found => found === true)) return noSubscription(topic, name);
    return this.#subscription(topic, (partition, index) => {
      if (exists[index] !== true) return Promise.resolve(null);
      if (only === null || only === index) return partition.seekSubscription(name, to);
      return Promise.resolve(partition.subscriptions().find(status => status.name === name) ?? null);
    });
  }

  async deleteSubscription(request: Fields): Promise<Fields | Failure> {
    const topic = await this.#topic(request, 'topic');
    if (isFailure(topic)) return topic;
    const name = textOf(request, 'name');
    const wrong = checkName('name', name);
    if (wrong) return wrong;
    let deleted = 0;
    const results = await this.#each(topic, async partition => {
      if (isFailure(partition)) return partition;
      if (!partition.subscriptions().some(status => status.name === name)) return null;
      const result = await partition.deleteSubscription(name);
      if (!isFailure(result)) deleted += 1;
      return result;
    });
    const broken = results.find(isFailure);
    if (broken) return broken;
    // A repeat of the same call finds it gone, which is what was asked for.
    if (deleted === 0 && textOf(request, 'operation_id') === '') return noSubscription(topic, name);
    return {};
  }

  // ---- shared ----

  #change(command: Command, request: Fields): Promise<Outcome | Failure> {
    return this.#deps.catalog.change(command, textOf(request, 'operation_id'));
  }

  async #topic(request: Fields, field: string): Promise<Topic | Failure> {
    const { catalog } = this.#deps;
    const topic = catalog.state.findTopic(field, textOf(request, field));
    if (isFailure(topic)) return topic;
    return (await catalog.settled()) ?? topic;
  }

  async #subscription(
    topic: Topic,
    act: (partition: Partition, index: number) => Promise<SubscriptionStatus | Failure | null>,
  ): Promise<Fields | Failure> {
    const results = await this.#each(topic, async (partition, index) => (isFailure(partition) ? partition : act(partition, index)));
    const parts: (readonly [number, SubscriptionStatus])[] = [];
    for (const [index, result] of results.entries()) {
      if (isFailure(result)) return result;
      if (result) parts.push([index, result]);
    }
    return subscriptionMessage(topic, parts);
  }

  /** `ask` of every partition, a few at a time; the answers in the partitions' order. */
  async #each<T>(topic: Topic, ask: (partition: Partition | Failure, index: number) => Promise<T>): Promise<T[]> {
    const answers: T[] = [];
    let next = 0;
    const view = { id: topic.id, name: topic.name, partitions: topic.partitions, version: topic.version };
    const work = async (): Promise<void> => {
      for (let index = next++; index < topic.partitions; index = next++) {
        const lease = await this.#deps.edge.leasePartition(view, index, () => {});
        try {
          answers[index] = await ask(isFailure(lease) ? lease : lease.partition, index);
        } finally {
          if (!isFailure(lease)) lease.release();
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARTITIONS_AT_A_TIME, topic.partitions) }, work));
    return answers;
  }
}

/** Where it exists with the same type it is as asked: a repeat, or a call that came half way. */
async function create(
  partition: Partition,
  name: string,
  type: SubscriptionTypeNumber,
  start: PositionFrame | null,
): Promise<SubscriptionStatus | Failure> {
  const existing = partition.subscriptions().find(status => status.name === name);
  if (existing && (type === 0 || existing.type === type)) return existing;
  return partition.createSubscription(name, type, start);
}

function answer(outcome: Outcome): Fields {
  switch (outcome.kind) {
    case 'tenant':
      return tenantMessage(outcome.tenant);
    case 'namespace':
      return namespaceMessage(outcome.namespace);
    case 'topic':
      return topicMessage(outcome.topic);
    case 'deleted':
      return {};
  }
}

function noSubscription(topic: Topic, name: string): Failure {
  return fail('subscription_not_found', `${topic.name} has no subscription ${name}`, { topic: topic.name, subscription: name });
}
