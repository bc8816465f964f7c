// Ids made from injected time and chance.

import { type BookieId, bookieId, type LedgerId, ledgerId, type TopicId, topicId } from './brands.ts';

/** What an id is made of: `now` in milliseconds, `bytes` random. */
export interface IdSource {
  now(): number;
  randomBytes(count: number): Buffer;
}

/** A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then random bits, so that ids sort by time. */
export function uuid7(source: IdSource): string {
  const raw = source.randomBytes(16);
  raw.writeUIntBE(Math.max(0, Math.floor(source.now())) % 2 ** 48, 0, 6);
  raw[6] = ((raw[6] ?? 0) & 0x0f) | 0x70;
  raw[8] = ((raw[8] ?? 0) & 0x3f) | 0x80;
  const hex = raw.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export function newLedgerId(source: IdSource): LedgerId {
  return ledgerId(uuid7(source));
}

export function newTopicId(source: IdSource): TopicId {
  return topicId(uuid7(source));
}

export function newBookieId(source: IdSource): BookieId {
  return bookieId(source.randomBytes(16).toString('hex'));
}

/** The random part of a ballot: 16 hex digits, new at every start of a process. */
export function newIncarnation(source: IdSource): string {
  return source.randomBytes(8).toString('hex');
}
