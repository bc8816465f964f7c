// What the catalog knows, as plain values: tenants, namespaces, topics, their policies. Values are never changed, a change makes new ones;
// an etag is the version at which a value was made.

import type { Ballot } from '#lib/types/ballot.ts';
import type { BookieId, LedgerId, TopicId } from '#lib/types/brands.ts';
import { type Failure, fail } from '#lib/types/errors.ts';
import { PARTITIONS_MAX } from '#lib/types/limits.ts';

/** Null: what stands one level above. -1 where allowed: for ever, no limit. */
export interface PolicySettings {
  readonly retentionMs: number | null;
  readonly backlogBytesMax: number | null;
  readonly autoCreateTopics: boolean | null;
  readonly defaultPartitions: number | null;
  readonly dedupWindowMs: number | null;
}

export const NO_POLICIES: PolicySettings = {
  retentionMs: null,
  backlogBytesMax: null,
  autoCreateTopics: null,
  defaultPartitions: null,
  dedupWindowMs: null,
};

/** After inheritance. */
export type EffectiveSettings = { readonly [Key in keyof PolicySettings]: NonNullable<PolicySettings[Key]> };

export interface Tenant {
  readonly name: string;
  readonly version: number;
  readonly createdMs: number;
}

export interface Namespace {
  /** tenant/namespace */
  readonly name: string;
  readonly version: number;
  readonly createdMs: number;
  readonly policies: PolicySettings;
}

/** The root of a partition's chain. */
export interface FirstLedger {
  readonly ledger: LedgerId;
  readonly ensemble: readonly BookieId[];
  readonly ackQuorum: number;
  /** The ballot under which it was made. */
  readonly creator: Ballot;
}

export interface Topic {
  /** tenant/namespace/topic */
  readonly name: string;
  readonly id: TopicId;
  readonly partitions: number;
  /** One a partition. */
  readonly ledgers: readonly FirstLedger[];
  readonly version: number;
  readonly createdMs: number;
  readonly policies: PolicySettings;
}

export const etagOf = (value: { readonly version: number }): string => String(value.version);

export const namespaceOfTopic = (name: string): string => name.slice(0, name.lastIndexOf('/'));
export const tenantOfNamespace = (name: string): string => name.slice(0, name.indexOf('/'));

/** The nearest level that sets a policy. */
export function inherit(levels: readonly PolicySettings[], server: EffectiveSettings): EffectiveSettings {
  const pick = <Key extends keyof PolicySettings>(key: Key): EffectiveSettings[Key] | null => {
    for (const level of levels) {
      const value = level[key];
      if (value !== null) return value as EffectiveSettings[Key];
    }
    return null;
  };
  return {
    retentionMs: pick('retentionMs') ?? server.retentionMs,
    backlogBytesMax: pick('backlogBytesMax') ?? server.backlogBytesMax,
    autoCreateTopics: pick('autoCreateTopics') ?? server.autoCreateTopics,
    defaultPartitions: pick('defaultPartitions') ?? server.defaultPartitions,
    dedupWindowMs: pick('dedupWindowMs') ?? server.dedupWindowMs,
  };
}

const DEDUP_WINDOW_MAX_MS = 7 * 24 * 3_600_000;

/** Undefined when the settings are good. */
export function checkPolicies(policies: PolicySettings): Failure | undefined {
  return (
    checkRange('retention_ms', policies.retentionMs, 1, Number.MAX_SAFE_INTEGER, true) ??
    checkRange('backlog_bytes_max', policies.backlogBytesMax, 1, Number.MAX_SAFE_INTEGER, true) ??
    checkRange('default_partitions', policies.defaultPartitions, 1, PARTITIONS_MAX, false) ??
    checkRange('dedup_window_ms', policies.dedupWindowMs, 0, DEDUP_WINDOW_MAX_MS, false)
  );
}

function checkRange(name: string, value: number | null, least: number, most: number, unlimited: boolean): Failure | undefined {
  if (value === null || (unlimited && value === -1)) return undefined;
  if (Number.isSafeInteger(value) && value >= least && value <= most) return undefined;
  const field = `policies.${name}`;
  return fail('invalid_argument', `${field} is ${value}; it is ${least} to ${most}${unlimited ? ', or -1 for no limit' : ''}`, { field });
}

/** One object for all that set nothing: most topics do not. */
export function shared(policies: PolicySettings): PolicySettings {
  const { retentionMs, backlogBytesMax, autoCreateTopics, defaultPartitions, dedupWindowMs } = policies;
  const none =
    retentionMs === null && backlogBytesMax === null && autoCreateTopics === null && defaultPartitions === null && dedupWindowMs === null;
  return none ? NO_POLICIES : { retentionMs, backlogBytesMax, autoCreateTopics, defaultPartitions, dedupWindowMs };
}
