// What Admin and Lookup calls say, as proto-loader gives and takes it: names as in the contract, 64-bit numbers as numbers, absent
// optionals as undefined. A request is data from outside: every field is read through a check.

import { type Failure, fail } from '#lib/types/errors.ts';
import type { PositionFrame, SubscriptionTypeNumber } from '#lib/wire/frames.ts';
import {
  type EffectiveSettings,
  etagOf,
  type Namespace,
  NO_POLICIES,
  type PolicySettings,
  type Tenant,
  type Topic,
} from '../catalog/core/model.ts';
import type { SubscriptionStatus } from '../partition/api.ts';

/** One decoded message. */
export type Fields = Readonly<Record<string, unknown>>;

export const textOf = (request: Fields, key: string): string => {
  const value = request[key];
  return typeof value === 'string' ? value : '';
};

export const numberOf = (request: Fields, key: string): number => {
  const value = request[key];
  return typeof value === 'number' ? value : 0;
};

export const messageOf = (request: Fields, key: string): Fields | null => {
  const value = request[key];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : null;
};

/** An optional number: with `defaults` proto-loader says by `_name` which optional is there. */
export const optionalNumberOf = (request: Fields, key: string): number | null => {
  const value = request[key];
  return request[`_${key}`] === key && typeof value === 'number' ? value : null;
};

export function policiesOf(request: Fields): PolicySettings {
  const policies = messageOf(request, 'policies');
  if (!policies) return NO_POLICIES;
  const flag = policies['auto_create_topics'];
  return {
    retentionMs: optionalNumberOf(policies, 'retention_ms'),
    backlogBytesMax: optionalNumberOf(policies, 'backlog_bytes_max'),
    autoCreateTopics: policies['_auto_create_topics'] === 'auto_create_topics' && typeof flag === 'boolean' ? flag : null,
    defaultPartitions: optionalNumberOf(policies, 'default_partitions'),
    dedupWindowMs: optionalNumberOf(policies, 'dedup_window_ms'),
  };
}

/** A position beyond what a number holds is beyond the end. */
export function positionOf(request: Fields, key: string): PositionFrame | null | Failure {
  const position = messageOf(request, key);
  if (!position) return null;
  switch (position['at']) {
    case 'earliest':
      return position['earliest'] === true ? { kind: 'earliest' } : badPosition(key);
    case 'latest':
      return position['latest'] === true ? { kind: 'latest' } : badPosition(key);
    case 'offset':
      return { kind: 'offset', offset: Math.min(numberOf(position, 'offset'), Number.MAX_SAFE_INTEGER) };
    case 'time_ms': {
      const time = numberOf(position, 'time_ms');
      return { kind: 'time', timeMs: Math.max(Number.MIN_SAFE_INTEGER, Math.min(time, Number.MAX_SAFE_INTEGER)) };
    }
    default:
      return badPosition(key);
  }
}

function badPosition(key: string): Failure {
  return fail('invalid_argument', `${key} says none of earliest, latest, offset, time_ms`, { field: key });
}

export function typeOf(request: Fields): SubscriptionTypeNumber | Failure {
  const type = numberOf(request, 'type');
  if (type === 0 || type === 1) return type;
  return fail('unsupported', 'type: this server has subscriptions of type exclusive only', { field: 'type' });
}

// ---- answers ----

export function tenantMessage(tenant: Tenant): Fields {
  return { name: tenant.name, etag: etagOf(tenant), created_ms: tenant.createdMs };
}

export function namespaceMessage(namespace: Namespace): Fields {
  return {
    name: namespace.name,
    etag: etagOf(namespace),
    created_ms: namespace.createdMs,
    policies: policiesMessage(namespace.policies),
  };
}

export function topicMessage(topic: Topic): Fields {
  return {
    name: topic.name,
    topic_id: topic.id,
    partitions: topic.partitions,
    policies: policiesMessage(topic.policies),
    etag: etagOf(topic),
    created_ms: topic.createdMs,
  };
}

export function policiesMessage(policies: PolicySettings | EffectiveSettings): Fields {
  const message: Record<string, unknown> = {};
  if (policies.retentionMs !== null) message['retention_ms'] = policies.retentionMs;
  if (policies.backlogBytesMax !== null) message['backlog_bytes_max'] = policies.backlogBytesMax;
  if (policies.autoCreateTopics !== null) message['auto_create_topics'] = policies.autoCreateTopics;
  if (policies.defaultPartitions !== null) message['default_partitions'] = policies.defaultPartitions;
  if (policies.dedupWindowMs !== null) message['dedup_window_ms'] = policies.dedupWindowMs;
  return message;
}

export function errorMessage(failure: Failure): Fields {
  return {
    reason: failure.code,
    message: failure.message,
    stored: failure.stored === 'no' ? 0 : 1,
    retry_after_ms: failure.retryAfterMs,
    detail: failure.detail,
  };
}

/** One subscription over its partitions. */
export function subscriptionMessage(topic: Topic, parts: readonly (readonly [number, SubscriptionStatus])[]): Fields {
  const [first] = parts;
  let backlog = 0;
  for (const [, status] of parts) backlog += status.backlog;
  return {
    topic: topic.name,
    topic_id: topic.id,
    name: first?.[1].name ?? '',
    type: first?.[1].type ?? 0,
    created_ms: Math.min(...parts.map(([, status]) => status.createdMs)),
    backlog,
    partitions: parts.map(([partition, status]) => ({
      partition,
      reset_epoch: status.resetEpoch,
      mark_delete: status.markDelete,
      backlog: status.backlog,
      end_offset: status.endOffset,
      holes: status.holes,
      consumers: status.consumers.map(consumer => ({
        name: consumer.name,
        address: consumer.address,
        client: consumer.client,
        attached_ms: consumer.attachedMs,
      })),
    })),
  };
}

// ---- pages ----

const PAGE_DEFAULT = 100;
const PAGE_MAX = 1000;

export interface Page {
  readonly size: number;
  /** Names above it; '' from the beginning. */
  readonly after: string;
}

/** A token says behind which name the next page begins, and of which list it is: a list that changes between pages is no problem. */
export function pageOf(request: Fields, list: string): Page | Failure {
  const size = numberOf(request, 'page_size');
  const token = textOf(request, 'page_token');
  if (size > PAGE_MAX) return fail('invalid_argument', `page_size is ${size}; the most is ${PAGE_MAX}`, { field: 'page_size' });
  if (token === '') return { size: size === 0 ? PAGE_DEFAULT : size, after: '' };
  const text = Buffer.from(token, 'base64url').toString('utf8');
  const cut = text.indexOf('\n');
  if (cut < 0 || text.slice(0, cut) !== list || Buffer.from(text, 'utf8').toString('base64url') !== token)
    return fail('invalid_argument', 'page_token is not one that this list gave', { field: 'page_token' });
  return { size: size === 0 ? PAGE_DEFAULT : size, after: text.slice(cut + 1) };
}

/** `sorted` by name. */
export function cutPage<T extends { readonly name: string }>(
  sorted: readonly T[],
  page: Page,
  list: string,
): { readonly items: readonly T[]; readonly nextToken: string } {
  let from = 0;
  if (page.after !== '') {
    let high = sorted.length;
    while (from < high) {
      const middle = (from + high) >> 1;
      if ((sorted[middle]?.name ?? '') <= page.after) from = middle + 1;
      else high = middle;
    }
  }
  const items = sorted.slice(from, from + page.size);
  const last = items.at(-1);
  const more = from + items.length < sorted.length && last !== undefined;
  return { items, nextToken: more ? Buffer.from(`${list}\n${last.name}`, 'utf8').toString('base64url') : '' };
}
