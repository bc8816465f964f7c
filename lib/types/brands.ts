// Branded ids and units: a number or a string that went through one constructor, which asserts what it is.
// The brand exists for the compiler only; at run time these are plain numbers and strings.

import { assert } from './assert.ts';

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** A message's position in its partition: a safe integer ≥ 0 that only increases. */
export type Offset = Brand<number, 'Offset'>;
/** A UUIDv7 in its 36-character lower-case form. */
export type LedgerId = Brand<string, 'LedgerId'>;
/** `<topicId>/<partition>`: the identity of one partition for bookies and metadata. */
export type PartitionId = Brand<string, 'PartitionId'>;
/** A UUIDv7; a topic that is deleted and created again has another one. */
export type TopicId = Brand<string, 'TopicId'>;
/** The random identity of one bookie's data folder: 32 hex digits. An emptied disk is a new incarnation. */
export type BookieId = Brand<string, 'BookieId'>;
/** A time on the wall clock in milliseconds since 1970-01-01T00:00:00Z, or a span of milliseconds. */
export type Millis = Brand<number, 'Millis'>;
/** An amount of bytes, ≥ 0. */
export type Bytes = Brand<number, 'Bytes'>;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function offset(value: number): Offset {
  assert(Number.isSafeInteger(value) && value >= 0, `an offset is a safe integer of 0 or more, not ${value}`);
  return value as Offset;
}

export function ledgerId(value: string): LedgerId {
  assert(UUID.test(value), `a ledger id is a UUID, not ${value}`);
  return value as LedgerId;
}

export function topicId(value: string): TopicId {
  assert(UUID.test(value), `a topic id is a UUID, not ${value}`);
  return value as TopicId;
}

export function partitionId(topic: TopicId, partition: number): PartitionId {
  assert(Number.isInteger(partition) && partition >= 0, `a partition is an integer of 0 or more, not ${partition}`);
  return `${topic}/${partition}` as PartitionId;
}

/** Reads what `partitionId` wrote. */
export function parsePartitionId(value: string): { topic: TopicId; partition: number } {
  const slash = value.indexOf('/');
  assert(slash > 0, `a partition id is topic/number, not ${value}`);
  const partition = Number(value.slice(slash + 1));
  return { topic: topicId(value.slice(0, slash)), partition };
}

export function bookieId(value: string): BookieId {
  assert(/^[0-9a-f]{32}$/.test(value), `a bookie id is 32 hex digits, not ${value}`);
  return value as BookieId;
}

export function millis(value: number): Millis {
  assert(Number.isFinite(value), `milliseconds are a finite number, not ${value}`);
  return value as Millis;
}

export function bytes(value: number): Bytes {
  assert(Number.isSafeInteger(value) && value >= 0, `an amount of bytes is a safe integer of 0 or more, not ${value}`);
  return value as Bytes;
}
