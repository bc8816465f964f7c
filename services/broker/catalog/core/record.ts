// The catalog's records as they stand in its log: JSON with a version, one a control entry. A reader checks every field, because what it
// builds from them is the root of all else; a record of a later version is refused, never skipped.

import { Buffer } from 'node:buffer';
import type { Ballot } from '#lib/types/ballot.ts';
import { bookieId, ledgerId, topicId } from '#lib/types/brands.ts';
import { type Failure, fail } from '#lib/types/errors.ts';
import { checkPolicies, type FirstLedger, type Namespace, type PolicySettings, shared, type Tenant, type Topic } from './model.ts';

export const RECORD_VERSION = 1;

/** By it a repeated call is known; `fingerprint` tells whether it is the same call. */
export interface Operation {
  readonly id: string;
  readonly fingerprint: string;
}

/** What a call was answered with. */
export type Outcome =
  | { readonly kind: 'tenant'; readonly tenant: Tenant }
  | { readonly kind: 'namespace'; readonly namespace: Namespace }
  | { readonly kind: 'topic'; readonly topic: Topic }
  | { readonly kind: 'deleted' };

export type Change =
  | { readonly kind: 'tenant'; readonly tenant: Tenant; readonly operation: Operation | null }
  | { readonly kind: 'tenant_deleted'; readonly name: string; readonly operation: Operation | null }
  | { readonly kind: 'namespace'; readonly namespace: Namespace; readonly operation: Operation | null }
  | { readonly kind: 'namespace_deleted'; readonly name: string; readonly operation: Operation | null }
  | { readonly kind: 'topic'; readonly topic: Topic; readonly operation: Operation | null }
  /** The point of no return: from here on the topic's data may be deleted. */
  | { readonly kind: 'topic_purged'; readonly id: string; readonly operation: Operation | null }
  /** Nothing of it is left. */
  | { readonly kind: 'purge_done'; readonly id: string; readonly operation: null };

/** One thing that a snapshot holds. */
export type SnapshotItem =
  | { readonly kind: 'tenant'; readonly tenant: Tenant }
  | { readonly kind: 'namespace'; readonly namespace: Namespace }
  | { readonly kind: 'topic'; readonly topic: Topic }
  | { readonly kind: 'purging'; readonly topic: Topic }
  | { readonly kind: 'operation'; readonly operation: Operation; readonly outcome: Outcome };

export type CatalogRecord =
  | { readonly kind: 'change'; readonly change: Change }
  | { readonly kind: 'snapshot_part'; readonly items: readonly SnapshotItem[] }
  /** Closes a snapshot: its parts are the entries [from, from + parts), and it holds what stood below `from`. */
  | { readonly kind: 'snapshot'; readonly from: number; readonly parts: number; readonly version: number }
  /** What is below `to` may be deleted. */
  | { readonly kind: 'trim'; readonly to: number };

export function encodeRecord(record: CatalogRecord): Buffer {
  return Buffer.from(JSON.stringify({ v: RECORD_VERSION, ...record }), 'utf8');
}

export function decodeRecord(view: Buffer): CatalogRecord | Failure {
  try {
    const raw: unknown = JSON.parse(view.toString('utf8'));
    const record = object(raw, 'record');
    const version = record['v'];
    if (version !== RECORD_VERSION) return fail('unsupported', `the catalog has a record of version ${version}, from a later Sluice`);
    return readRecord(record);
  } catch (error) {
    if (error instanceof Malformed || error instanceof SyntaxError)
      return fail('data_loss', `the catalog has a record that cannot be read: ${error.message}`);
    throw error;
  }
}

/** A first ledger by itself: the catalog's own stands in the metadata store. */
export function readFirstLedger(view: Buffer): FirstLedger | Failure {
  try {
    return firstLedgerOf(object(JSON.parse(view.toString('utf8')), 'ledger'));
  } catch (error) {
    if (error instanceof Malformed || error instanceof SyntaxError)
      return fail('data_loss', `the record of the catalog's first ledger cannot be read: ${error.message}`);
    throw error;
  }
}

/** Only within this file: a record is read as a whole or not at all. */
class Malformed extends Error {
  override readonly name = 'Malformed';
}

type Fields = Readonly<Record<string, unknown>>;

function readRecord(record: Fields): CatalogRecord {
  switch (record['kind']) {
    case 'change':
      return { kind: 'change', change: readChange(object(record['change'], 'change')) };
    case 'snapshot_part':
      return { kind: 'snapshot_part', items: array(record['items'], 'items').map(item => readItem(object(item, 'item'))) };
    case 'snapshot':
      return {
        kind: 'snapshot',
        from: natural(record['from'], 'from'),
        parts: natural(record['parts'], 'parts'),
        version: natural(record['version'], 'version'),
      };
    case 'trim':
      return { kind: 'trim', to: natural(record['to'], 'to') };
    default:
      throw new Malformed(`kind ${String(record['kind'])}`);
  }
}

function readChange(change: Fields): Change {
  const operation = change['operation'] === null ? null : readOperation(object(change['operation'], 'operation'));
  switch (change['kind']) {
    case 'tenant':
      return { kind: 'tenant', tenant: readTenant(object(change['tenant'], 'tenant')), operation };
    case 'tenant_deleted':
      return { kind: 'tenant_deleted', name: text(change['name'], 'name'), operation };
    case 'namespace':
      return { kind: 'namespace', namespace: readNamespace(object(change['namespace'], 'namespace')), operation };
    case 'namespace_deleted':
      return { kind: 'namespace_deleted', name: text(change['name'], 'name'), operation };
    case 'topic':
      return { kind: 'topic', topic: readTopic(object(change['topic'], 'topic')), operation };
    case 'topic_purged':
      return { kind: 'topic_purged', id: text(change['id'], 'id'), operation };
    case 'purge_done':
      return { kind: 'purge_done', id: text(change['id'], 'id'), operation: null };
    default:
      throw new Malformed(`change ${String(change['kind'])}`);
  }
}

function readItem(item: Fields): SnapshotItem {
  switch (item['kind']) {
    case 'tenant':
      return { kind: 'tenant', tenant: readTenant(object(item['tenant'], 'tenant')) };
    case 'namespace':
      return { kind: 'namespace', namespace: readNamespace(object(item['namespace'], 'namespace')) };
    case 'topic':
      return { kind: 'topic', topic: readTopic(object(item['topic'], 'topic')) };
    case 'purging':
      return { kind: 'purging', topic: readTopic(object(item['topic'], 'topic')) };
    case 'operation':
      return {
        kind: 'operation',
        operation: readOperation(object(item['operation'], 'operation')),
        outcome: readOutcome(object(item['outcome'], 'outcome')),
      };
    default:
      throw new Malformed(`item ${String(item['kind'])}`);
  }
}

function readOutcome(outcome: Fields): Outcome {
  switch (outcome['kind']) {
    case 'tenant':
      return { kind: 'tenant', tenant: readTenant(object(outcome['tenant'], 'tenant')) };
    case 'namespace':
      return { kind: 'namespace', namespace: readNamespace(object(outcome['namespace'], 'namespace')) };
    case 'topic':
      return { kind: 'topic', topic: readTopic(object(outcome['topic'], 'topic')) };
    case 'deleted':
      return { kind: 'deleted' };
    default:
      throw new Malformed(`outcome ${String(outcome['kind'])}`);
  }
}

function readOperation(operation: Fields): Operation {
  return { id: text(operation['id'], 'operation.id'), fingerprint: text(operation['fingerprint'], 'operation.fingerprint') };
}

function readTenant(tenant: Fields): Tenant {
  return {
    name: text(tenant['name'], 'tenant.name'),
    version: natural(tenant['version'], 'tenant.version'),
    createdMs: natural(tenant['createdMs'], 'tenant.createdMs'),
  };
}

function readNamespace(namespace: Fields): Namespace {
  return {
    name: text(namespace['name'], 'namespace.name'),
    version: natural(namespace['version'], 'namespace.version'),
    createdMs: natural(namespace['createdMs'], 'namespace.createdMs'),
    policies: readPolicies(object(namespace['policies'], 'namespace.policies')),
  };
}

function readTopic(topic: Fields): Topic {
  const id = text(topic['id'], 'topic.id');
  const ledgers = array(topic['ledgers'], 'topic.ledgers').map(ledger => firstLedgerOf(object(ledger, 'ledger')));
  const partitions = natural(topic['partitions'], 'topic.partitions');
  if (ledgers.length !== partitions || partitions < 1) throw new Malformed(`${ledgers.length} ledgers for ${partitions} partitions`);
  return {
    name: text(topic['name'], 'topic.name'),
    id: topicId(id),
    partitions,
    ledgers,
    version: natural(topic['version'], 'topic.version'),
    createdMs: natural(topic['createdMs'], 'topic.createdMs'),
    policies: readPolicies(object(topic['policies'], 'topic.policies')),
  };
}

function firstLedgerOf(ledger: Fields): FirstLedger {
  return {
    ledger: ledgerId(text(ledger['ledger'], 'ledger')),
    ensemble: array(ledger['ensemble'], 'ensemble').map(id => bookieId(text(id, 'ensemble'))),
    ackQuorum: natural(ledger['ackQuorum'], 'ackQuorum'),
    creator: readBallot(object(ledger['creator'], 'creator')),
  };
}

function readBallot(ballot: Fields): Ballot {
  return { epoch: natural(ballot['epoch'], 'epoch'), incarnation: text(ballot['incarnation'], 'incarnation') };
}

function readPolicies(policies: Fields): PolicySettings {
  const number = (key: string): number | null => {
    const value = policies[key];
    if (value === null) return null;
    if (typeof value !== 'number') throw new Malformed(key);
    return value;
  };
  const flag = policies['autoCreateTopics'];
  if (flag !== null && typeof flag !== 'boolean') throw new Malformed('autoCreateTopics');
  const settings: PolicySettings = {
    retentionMs: number('retentionMs'),
    backlogBytesMax: number('backlogBytesMax'),
    autoCreateTopics: flag,
    defaultPartitions: number('defaultPartitions'),
    dedupWindowMs: number('dedupWindowMs'),
  };
  const problem = checkPolicies(settings);
  if (problem) throw new Malformed(problem.message);
  return shared(settings);
}

function object(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Malformed(`${name} is no object`);
  return value as Fields;
}

function array(value: unknown, name: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new Malformed(`${name} is no list`);
  return value;
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw new Malformed(`${name} is no text`);
  return value;
}

function natural(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new Malformed(`${name} is no count`);
  return value;
}
