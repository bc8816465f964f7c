// Control records: what a partition writes into its own log about itself. Each is compact JSON with a kind and a version in the payload of
// one control entry. Reading is strict: an unknown kind, version or field is an error, because a record that is half understood would give
// another state than its writer had.

import type { SubscriptionTypeNumber } from '#lib/wire/frames.ts';
import { amount, amountOrNone, FieldError, type Fields, fieldsOf, flag, flatRanges, onlyKeys, text } from './fields.ts';

export const CONTROL_VERSION = 1;

/** A producer's new epoch: everything of older ones is refused from here on. */
export interface ProducerRecord {
  readonly kind: 'producer';
  readonly name: string;
  readonly epoch: number;
  readonly instance: string;
  readonly window: number;
  readonly ephemeral: boolean;
}

/** A subscription is created; its cursor begins at `from`, below which the partition had `count` messages. */
export interface SubscribedRecord {
  readonly kind: 'subscribed';
  readonly name: string;
  readonly type: SubscriptionTypeNumber;
  readonly from: number;
  readonly count: number;
}

export interface SoughtRecord {
  readonly kind: 'sought';
  readonly name: string;
  readonly from: number;
  readonly count: number;
}

export interface UnsubscribedRecord {
  readonly kind: 'unsubscribed';
  readonly name: string;
}

/** An acknowledgement with a receipt. `spans` is flat: first, end, first, end. */
export interface AcknowledgedRecord {
  readonly kind: 'acknowledged';
  readonly name: string;
  readonly resetEpoch: number;
  readonly upTo: number;
  readonly spans: readonly number[];
}

/** Some blocks of the snapshot taken at `snapshot`. Counts only through a commit that names this entry. */
export interface ChunkRecord {
  readonly kind: 'chunk';
  readonly snapshot: number;
  readonly blocks: Fields;
}

/** A complete checkpoint: replay begins at `snapshot`, with the blocks at the named offsets, whichever checkpoint wrote them. */
export interface CommitRecord {
  readonly kind: 'commit';
  readonly snapshot: number;
  readonly start: number;
  readonly startCount: number;
  /** Messages below `snapshot`, and the append time of the entry before it. */
  readonly count: number;
  readonly appendTimeMs: number;
  readonly blocks: ReadonlyMap<string, number>;
  /** What was last used before these times is forgotten, here and in every replay. */
  readonly expire: ExpireTimes;
}

export interface ExpireTimes {
  readonly producersMs: number;
  readonly ephemeralMs: number;
  readonly idsMs: number;
}

/** Nothing below `to` can be read any more; `ledger` is the first that stays. */
export interface TrimRecord {
  readonly kind: 'trim';
  readonly to: number;
  readonly count: number;
  readonly ledger: string;
}

/** The offsets [from, to) were lost for good and are never used again. */
export interface GapRecord {
  readonly kind: 'gap';
  readonly from: number;
  readonly to: number;
}

export type ControlRecord =
  | ProducerRecord
  | SubscribedRecord
  | SoughtRecord
  | UnsubscribedRecord
  | AcknowledgedRecord
  | ChunkRecord
  | CommitRecord
  | TrimRecord
  | GapRecord;

/** Upkeep is no reason for another checkpoint: an idle partition must come to rest. */
export function isUpkeep(kind: ControlRecord['kind']): boolean {
  return kind === 'chunk' || kind === 'commit' || kind === 'trim';
}

export function encodeControl(record: ControlRecord): Buffer {
  const fields = record.kind === 'commit' ? { ...record, blocks: Object.fromEntries(record.blocks) } : record;
  return Buffer.from(JSON.stringify({ v: CONTROL_VERSION, ...fields }));
}

/** The record, or what is wrong with these bytes. */
export function decodeControl(payload: Buffer): ControlRecord | { readonly kind: 'malformed'; readonly reason: string } {
  try {
    const fields = fieldsOf(JSON.parse(payload.toString('utf8')), 'a control record');
    if (fields['v'] !== CONTROL_VERSION) throw new FieldError(`version ${String(fields['v'])} of control records is not known here`);
    return read(fields);
  } catch (error) {
    if (error instanceof FieldError || error instanceof SyntaxError) return { kind: 'malformed', reason: error.message };
    throw error;
  }
}

function read(fields: Fields): ControlRecord {
  const kind = text(fields['kind'], 'kind');
  switch (kind) {
    case 'producer':
      onlyKeys(fields, ['v', 'kind', 'name', 'epoch', 'instance', 'window', 'ephemeral'], kind);
      return {
        kind,
        name: text(fields['name'], 'name'),
        epoch: amount(fields['epoch'], 'epoch'),
        instance: text(fields['instance'], 'instance'),
        window: amount(fields['window'], 'window'),
        ephemeral: flag(fields['ephemeral'], 'ephemeral'),
      };
    case 'subscribed':
      onlyKeys(fields, ['v', 'kind', 'name', 'type', 'from', 'count'], kind);
      return { kind, type: subscriptionType(fields['type']), ...place(fields) };
    case 'sought':
      onlyKeys(fields, ['v', 'kind', 'name', 'from', 'count'], kind);
      return { kind, ...place(fields) };
    case 'unsubscribed':
      onlyKeys(fields, ['v', 'kind', 'name'], kind);
      return { kind, name: text(fields['name'], 'name') };
    case 'acknowledged':
      onlyKeys(fields, ['v', 'kind', 'name', 'resetEpoch', 'upTo', 'spans'], kind);
      return {
        kind,
        name: text(fields['name'], 'name'),
        resetEpoch: amount(fields['resetEpoch'], 'resetEpoch'),
        upTo: amount(fields['upTo'], 'upTo'),
        spans: flatRanges(fields['spans'], 'spans'),
      };
    case 'chunk':
      onlyKeys(fields, ['v', 'kind', 'snapshot', 'blocks'], kind);
      return { kind, snapshot: amount(fields['snapshot'], 'snapshot'), blocks: fieldsOf(fields['blocks'], 'blocks') };
    case 'commit':
      return readCommit(fields);
    case 'trim':
      onlyKeys(fields, ['v', 'kind', 'to', 'count', 'ledger'], kind);
      return { kind, to: amount(fields['to'], 'to'), count: amount(fields['count'], 'count'), ledger: text(fields['ledger'], 'ledger') };
    case 'gap':
      onlyKeys(fields, ['v', 'kind', 'from', 'to'], kind);
      return { kind, from: amount(fields['from'], 'from'), to: amount(fields['to'], 'to') };
    default:
      throw new FieldError(`the control record ${JSON.stringify(kind)} is not known here`);
  }
}

function place(fields: Fields): { name: string; from: number; count: number } {
  return { name: text(fields['name'], 'name'), from: amount(fields['from'], 'from'), count: amount(fields['count'], 'count') };
}

function readCommit(fields: Fields): CommitRecord {
  onlyKeys(fields, ['v', 'kind', 'snapshot', 'start', 'startCount', 'count', 'appendTimeMs', 'blocks', 'expire'], 'commit');
  const expire = fieldsOf(fields['expire'], 'expire');
  onlyKeys(expire, ['producersMs', 'ephemeralMs', 'idsMs'], 'expire');
  const blocks = new Map<string, number>();
  for (const [key, at] of Object.entries(fieldsOf(fields['blocks'], 'blocks'))) blocks.set(key, amount(at, `block ${key}`));
  return {
    kind: 'commit',
    snapshot: amount(fields['snapshot'], 'snapshot'),
    start: amount(fields['start'], 'start'),
    startCount: amount(fields['startCount'], 'startCount'),
    count: amount(fields['count'], 'count'),
    appendTimeMs: amount(fields['appendTimeMs'], 'appendTimeMs'),
    blocks,
    expire: {
      producersMs: amountOrNone(expire['producersMs'], 'producersMs'),
      ephemeralMs: amountOrNone(expire['ephemeralMs'], 'ephemeralMs'),
      idsMs: amountOrNone(expire['idsMs'], 'idsMs'),
    },
  };
}

export function subscriptionType(value: unknown): SubscriptionTypeNumber {
  if (value === 1 || value === 2 || value === 3 || value === 4) return value;
  throw new FieldError('type is none of 1 exclusive, 2 failover, 3 shared, 4 key_shared');
}
