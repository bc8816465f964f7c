// The catalog as a pure state machine. `decide` looks at a command and answers what to record, what a repeat was answered with, or a
// refusal; `apply` takes what was recorded, in its order, and is all that changes the state. The same records give the same state.

import { assert, unreachable } from '#lib/types/assert.ts';
import type { TopicId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { PARTITIONS_MAX } from '#lib/types/limits.ts';
import { checkName, DEFAULT_NAMESPACE, DEFAULT_TENANT, fullTopicName, parseTopicName } from '#lib/types/names.ts';
import {
  checkPolicies,
  type EffectiveSettings,
  etagOf,
  type FirstLedger,
  inherit,
  type Namespace,
  NO_POLICIES,
  namespaceOfTopic,
  type PolicySettings,
  shared,
  type Tenant,
  type Topic,
  tenantOfNamespace,
} from './model.ts';
import type { Change, Operation, Outcome, SnapshotItem } from './record.ts';

export type Command =
  | { readonly kind: 'create_tenant'; readonly name: string }
  | { readonly kind: 'delete_tenant'; readonly name: string; readonly etag: string }
  | { readonly kind: 'create_namespace'; readonly name: string; readonly policies: PolicySettings }
  | { readonly kind: 'update_namespace'; readonly name: string; readonly policies: PolicySettings; readonly etag: string }
  | { readonly kind: 'delete_namespace'; readonly name: string; readonly etag: string }
  /** `partitions` 0: the namespace's default. `orExisting`: a topic that exists, whatever its settings, is the answer. */
  | {
      readonly kind: 'create_topic';
      readonly name: string;
      readonly partitions: number;
      readonly policies: PolicySettings;
      readonly orExisting: boolean;
    }
  | { readonly kind: 'update_topic'; readonly name: string; readonly policies: PolicySettings; readonly etag: string }
  | { readonly kind: 'delete_topic'; readonly name: string; readonly etag: string }
  | { readonly kind: 'finish_purge'; readonly id: TopicId };

/** What a decision needs from outside. */
export interface DecideContext {
  readonly nowMs: number;
  /** '' without one. */
  readonly operationId: string;
  newTopicId(): TopicId;
  /** The root of a new partition's chain, unless there are too few bookies. */
  newFirstLedger(topic: TopicId, partition: number): FirstLedger | Failure;
}

export type Decision =
  | { readonly kind: 'record'; readonly change: Change }
  /** Nothing to record: it is so already, or the same call was answered before. */
  | { readonly kind: 'answer'; readonly outcome: Outcome }
  | Failure;

/** Operations that are remembered; the oldest are forgotten first. */
const OPERATIONS_MAX = 1_000;
const OPERATION_ID_MAX = 64;

export class CatalogState {
  readonly #server: EffectiveSettings;
  readonly #tenants = new Map<string, Tenant>();
  readonly #namespaces = new Map<string, Namespace>();
  readonly #topics = new Map<string, Topic>();
  readonly #topicsById = new Map<string, Topic>();
  readonly #purging = new Map<string, Topic>();
  readonly #operations = new Map<string, { readonly fingerprint: string; readonly outcome: Outcome }>();
  /** Topics by namespace, sorted; made anew after a change. */
  #sorted: { readonly version: number; readonly topics: ReadonlyMap<string, readonly Topic[]> } | null = null;
  #version: number;

  constructor(server: EffectiveSettings, version = 0) {
    this.#server = server;
    this.#version = version;
    this.#tenants.set(DEFAULT_TENANT, { name: DEFAULT_TENANT, version: 0, createdMs: 0 });
    const name = `${DEFAULT_TENANT}/${DEFAULT_NAMESPACE}`;
    this.#namespaces.set(name, { name, version: 0, createdMs: 0, policies: NO_POLICIES });
  }

  /** Counts changes. */
  get version(): number {
    return this.#version;
  }

  get topicCount(): number {
    return this.#topics.size;
  }

  /** Things that a snapshot holds. */
  get size(): number {
    return this.#tenants.size + this.#namespaces.size + this.#topics.size + this.#purging.size + this.#operations.size;
  }

  topic(name: string): Topic | undefined {
    return this.#topics.get(name);
  }

  topicById(id: string): Topic | undefined {
    return this.#topicsById.get(id);
  }

  tenant(name: string): Tenant | undefined {
    return this.#tenants.get(name);
  }

  namespace(name: string): Namespace | undefined {
    return this.#namespaces.get(name);
  }

  tenants(): readonly Tenant[] {
    return [...this.#tenants.values()].sort(byName);
  }

  namespaces(tenant: string): readonly Namespace[] {
    return [...this.#namespaces.values()].filter(({ name }) => tenantOfNamespace(name) === tenant).sort(byName);
  }

  topics(): IterableIterator<Topic> {
    return this.#topics.values();
  }

  topicsOf(namespace: string): readonly Topic[] {
    if (this.#sorted?.version !== this.#version) {
      const topics = new Map<string, Topic[]>();
      for (const topic of this.#topics.values()) {
        const key = namespaceOfTopic(topic.name);
        const list = topics.get(key);
        if (list) list.push(topic);
        else topics.set(key, [topic]);
      }
      for (const list of topics.values()) list.sort(byName);
      this.#sorted = { version: this.#version, topics };
    }
    return this.#sorted.topics.get(namespace) ?? [];
  }

  purging(): readonly Topic[] {
    return [...this.#purging.values()];
  }

  namespaceSettings(namespace: Namespace): EffectiveSettings {
    return inherit([namespace.policies], this.#server);
  }

  topicSettings(topic: Topic): EffectiveSettings {
    const namespace = this.#namespaces.get(namespaceOfTopic(topic.name));
    return inherit(namespace ? [topic.policies, namespace.policies] : [topic.policies], this.#server);
  }

  // ---- deciding ----

  decide(command: Command, context: DecideContext): Decision {
    const operation = this.#operation(command, context.operationId);
    if (isFailure(operation)) return operation;
    const before = operation && this.#operations.get(operation.id);
    if (operation && before) {
      if (before.fingerprint === operation.fingerprint) return { kind: 'answer', outcome: before.outcome };
      return fail('invalid_argument', `operation_id ${operation.id} was used for another request`, { field: 'operation_id' });
    }
    switch (command.kind) {
      case 'create_tenant':
        return this.#createTenant(command.name, context, operation);
      case 'delete_tenant':
        return this.#deleteTenant(command.name, command.etag, operation);
      case 'create_namespace':
        return this.#createNamespace(command.name, command.policies, context, operation);
      case 'update_namespace':
        return this.#updateNamespace(command.name, command.policies, command.etag, operation);
      case 'delete_namespace':
        return this.#deleteNamespace(command.name, command.etag, operation);
      case 'create_topic':
        return this.#createTopic(command, context, operation);
      case 'update_topic':
        return this.#updateTopic(command.name, command.policies, command.etag, operation);
      case 'delete_topic':
        return this.#deleteTopic(command.name, command.etag, operation);
      case 'finish_purge':
        if (!this.#purging.has(command.id)) return { kind: 'answer', outcome: { kind: 'deleted' } };
        return { kind: 'record', change: { kind: 'purge_done', id: command.id, operation: null } };
      default:
        return unreachable(command);
    }
  }

  #operation(command: Command, id: string): Operation | null | Failure {
    if (id === '') return null;
    if (id.length > OPERATION_ID_MAX || !/^[\x21-\x7e]+$/.test(id))
      return fail('invalid_argument', `operation_id is not 1 to ${OPERATION_ID_MAX} printable characters`, { field: 'operation_id' });
    return { id, fingerprint: JSON.stringify(command) };
  }

  #createTenant(name: string, context: DecideContext, operation: Operation | null): Decision {
    const wrong = checkName('name', name);
    if (wrong) return wrong;
    if (this.#tenants.has(name)) return fail('already_exists', `tenant ${name} exists`, { tenant: name });
    const tenant = { name, version: this.#version + 1, createdMs: context.nowMs };
    return { kind: 'record', change: { kind: 'tenant', tenant, operation } };
  }

  #deleteTenant(name: string, etag: string, operation: Operation | null): Decision {
    const wrong = checkName('name', name);
    if (wrong) return wrong;
    const tenant = this.#tenants.get(name);
    if (!tenant) return noTenant(name);
    if (name === DEFAULT_TENANT) return fail('invalid_argument', `tenant ${name} cannot be deleted`, { field: 'name' });
    const child = this.namespaces(name)[0];
    if (child) return fail('not_empty', `tenant ${name} has namespaces, for instance ${child.name}`, { namespace: child.name });
    return changedSince(tenant, etag, name) ?? { kind: 'record', change: { kind: 'tenant_deleted', name, operation } };
  }

  #createNamespace(text: string, policies: PolicySettings, context: DecideContext, operation: Operation | null): Decision {
    const name = parseNamespaceName('name', text);
    if (isFailure(name)) return name;
    const wrong = checkPolicies(policies);
    if (wrong) return wrong;
    if (!this.#tenants.has(tenantOfNamespace(name))) return noTenant(tenantOfNamespace(name));
    if (this.#namespaces.has(name)) return fail('already_exists', `namespace ${name} exists`, { namespace: name });
    const namespace = { name, version: this.#version + 1, createdMs: context.nowMs, policies: shared(policies) };
    return { kind: 'record', change: { kind: 'namespace', namespace, operation } };
  }

  #updateNamespace(text: string, policies: PolicySettings, etag: string, operation: Operation | null): Decision {
    const found = this.findNamespace('name', text);
    if (isFailure(found)) return found;
    const wrong = checkPolicies(policies) ?? changedSince(found, etag, found.name);
    if (wrong) return wrong;
    const namespace = { ...found, version: this.#version + 1, policies: shared(policies) };
    return { kind: 'record', change: { kind: 'namespace', namespace, operation } };
  }

  #deleteNamespace(text: string, etag: string, operation: Operation | null): Decision {
    const found = this.findNamespace('name', text);
    if (isFailure(found)) return found;
    const { name } = found;
    if (name === `${DEFAULT_TENANT}/${DEFAULT_NAMESPACE}`)
      return fail('invalid_argument', `namespace ${name} cannot be deleted`, { field: 'name' });
    const child = this.topicsOf(name)[0];
    if (child) return fail('not_empty', `namespace ${name} has topics, for instance ${child.name}`, { topic: child.name });
    return changedSince(found, etag, name) ?? { kind: 'record', change: { kind: 'namespace_deleted', name, operation } };
  }

  #createTopic(command: Command & { kind: 'create_topic' }, context: DecideContext, operation: Operation | null): Decision {
    const parsed = parseTopicName('name', command.name);
    if (isFailure(parsed)) return parsed;
    const name = fullTopicName(parsed);
    const namespace = this.#namespaces.get(namespaceOfTopic(name));
    if (!namespace) return this.#noNamespace(namespaceOfTopic(name));
    const wrong = checkPolicies(command.policies);
    if (wrong) return wrong;
    const existing = this.#topics.get(name);
    if (existing && command.orExisting) return { kind: 'answer', outcome: { kind: 'topic', topic: existing } };
    if (existing) return fail('already_exists', `topic ${name} exists`, { topic: name, topic_id: existing.id });
    const partitions = command.partitions === 0 ? this.namespaceSettings(namespace).defaultPartitions : command.partitions;
    if (!Number.isInteger(partitions) || partitions < 1 || partitions > PARTITIONS_MAX)
      return fail('invalid_argument', `partitions is ${partitions}; a topic has 1 to ${PARTITIONS_MAX}`, { field: 'partitions' });
    const id = context.newTopicId();
    const ledgers: FirstLedger[] = [];
    for (let partition = 0; partition < partitions; partition++) {
      const ledger = context.newFirstLedger(id, partition);
      if (isFailure(ledger)) return ledger;
      ledgers.push(ledger);
    }
    const topic: Topic = {
      name,
      id,
      partitions,
      ledgers,
      version: this.#version + 1,
      createdMs: context.nowMs,
      policies: shared(command.policies),
    };
    return { kind: 'record', change: { kind: 'topic', topic, operation } };
  }

  #updateTopic(text: string, policies: PolicySettings, etag: string, operation: Operation | null): Decision {
    const found = this.findTopic('name', text);
    if (isFailure(found)) return found;
    const wrong = checkPolicies(policies) ?? changedSince(found, etag, found.name);
    if (wrong) return wrong;
    const topic = { ...found, version: this.#version + 1, policies: shared(policies) };
    return { kind: 'record', change: { kind: 'topic', topic, operation } };
  }

  #deleteTopic(text: string, etag: string, operation: Operation | null): Decision {
    const found = this.findTopic('name', text);
    if (isFailure(found)) return found;
    return changedSince(found, etag, found.name) ?? { kind: 'record', change: { kind: 'topic_purged', id: found.id, operation } };
  }

  /** A topic by a name as users write it. */
  findTopic(field: string, text: string): Topic | Failure {
    const parsed = parseTopicName(field, text);
    if (isFailure(parsed)) return parsed;
    const name = fullTopicName(parsed);
    const topic = this.#topics.get(name);
    if (topic) return topic;
    const namespace = namespaceOfTopic(name);
    if (!this.#namespaces.has(namespace)) return this.#noNamespace(namespace);
    return fail('topic_not_found', `there is no topic ${name}`, { topic: name });
  }

  findNamespace(field: string, text: string): Namespace | Failure {
    const name = parseNamespaceName(field, text);
    if (isFailure(name)) return name;
    return this.#namespaces.get(name) ?? this.#noNamespace(name);
  }

  findTenant(field: string, name: string): Tenant | Failure {
    return checkName(field, name) ?? this.#tenants.get(name) ?? noTenant(name);
  }

  #noNamespace(name: string): Failure {
    const tenant = tenantOfNamespace(name);
    if (!this.#tenants.has(tenant)) return noTenant(tenant);
    return fail('namespace_not_found', `there is no namespace ${name}`, { namespace: name });
  }

  // ---- applying ----

  apply(change: Change): Outcome {
    this.#version += 1;
    const outcome = this.#applied(change);
    if (change.operation) this.#remember(change.operation, outcome);
    return outcome;
  }

  #applied(change: Change): Outcome {
    switch (change.kind) {
      case 'tenant':
        this.#tenants.set(change.tenant.name, change.tenant);
        return { kind: 'tenant', tenant: change.tenant };
      case 'tenant_deleted':
        assert(this.#tenants.delete(change.name), `tenant ${change.name} is deleted once`);
        return { kind: 'deleted' };
      case 'namespace':
        this.#namespaces.set(change.namespace.name, change.namespace);
        return { kind: 'namespace', namespace: change.namespace };
      case 'namespace_deleted':
        assert(this.#namespaces.delete(change.name), `namespace ${change.name} is deleted once`);
        return { kind: 'deleted' };
      case 'topic':
        this.#putTopic(change.topic);
        return { kind: 'topic', topic: change.topic };
      case 'topic_purged': {
        const topic = this.#topicsById.get(change.id);
        assert(topic !== undefined, `topic ${change.id} is purged once`);
        this.#topics.delete(topic.name);
        this.#topicsById.delete(topic.id);
        this.#purging.set(topic.id, topic);
        return { kind: 'deleted' };
      }
      case 'purge_done':
        assert(this.#purging.delete(change.id), `the purge of ${change.id} is finished once`);
        return { kind: 'deleted' };
      default:
        return unreachable(change);
    }
  }

  #putTopic(topic: Topic): void {
    const before = this.#topics.get(topic.name);
    assert(before === undefined || before.id === topic.id, `topic ${topic.name} keeps its id while it lives`);
    this.#topics.set(topic.name, topic);
    this.#topicsById.set(topic.id, topic);
  }

  #remember(operation: Operation, outcome: Outcome): void {
    this.#operations.set(operation.id, { fingerprint: operation.fingerprint, outcome });
    for (const id of this.#operations.keys()) {
      if (this.#operations.size <= OPERATIONS_MAX) break;
      this.#operations.delete(id);
    }
  }

  // ---- snapshots ----

  *snapshot(): Generator<SnapshotItem> {
    for (const tenant of this.#tenants.values()) yield { kind: 'tenant', tenant };
    for (const namespace of this.#namespaces.values()) yield { kind: 'namespace', namespace };
    for (const topic of this.#topics.values()) yield { kind: 'topic', topic };
    for (const topic of this.#purging.values()) yield { kind: 'purging', topic };
    for (const [id, { fingerprint, outcome }] of this.#operations) yield { kind: 'operation', operation: { id, fingerprint }, outcome };
  }

  /** Into a fresh state, before any change. */
  restore(item: SnapshotItem): void {
    switch (item.kind) {
      case 'tenant':
        this.#tenants.set(item.tenant.name, item.tenant);
        return;
      case 'namespace':
        this.#namespaces.set(item.namespace.name, item.namespace);
        return;
      case 'topic':
        this.#putTopic(item.topic);
        return;
      case 'purging':
        this.#purging.set(item.topic.id, item.topic);
        return;
      case 'operation':
        this.#remember(item.operation, item.outcome);
        return;
      default:
        unreachable(item);
    }
  }
}

/** Reads tenant/namespace; '' means public/default. */
export function parseNamespaceName(field: string, text: string): string | Failure {
  if (text === '') return `${DEFAULT_TENANT}/${DEFAULT_NAMESPACE}`;
  const [tenant = '', namespace = '', ...rest] = text.split('/');
  if (rest.length > 0 || namespace === '')
    return fail('invalid_argument', `${field} ${JSON.stringify(text.slice(0, 80))} is not tenant/namespace`, { field });
  return checkName(field, tenant) ?? checkName(field, namespace) ?? `${tenant}/${namespace}`;
}

function changedSince(value: Tenant | Namespace | Topic, etag: string, name: string): Failure | undefined {
  if (etag === '' || etag === etagOf(value)) return undefined;
  return fail('changed', `${name} has changed: its etag is ${etagOf(value)}, not ${etag}`, { etag: etagOf(value) });
}

const noTenant = (name: string): Failure => fail('tenant_not_found', `there is no tenant ${name}`, { tenant: name });
const byName = (a: { readonly name: string }, b: { readonly name: string }): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
