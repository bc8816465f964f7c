// The edge's one look at a batch: size, structure, count, checksum, and features that this server does not have. What it accepts is
// stored as it came; what a simple client left out (checksum, index of key hashes) is made here.

import { type Failure, fail } from '#lib/types/errors.ts';
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX } from '#lib/types/limits.ts';
import { BatchCursor } from '#lib/wire/batch.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import type { BatchInfoView } from '#lib/wire/frames.ts';
import { bytesField, hashColumn, infoFacts } from './batch-info.ts';

export interface AdmittedBatch {
  readonly kind: 'admitted';
  readonly info: BatchInfoView;
  readonly crc: number;
  /** Four bytes a message, or four for all; null: no message has a key, or none that can be seen. */
  readonly keyHashes: Buffer | null;
}

/** `field` begins the name of what is wrong: "batches[2]". */
export function admitBatch(info: BatchInfoView, batchView: Buffer, crc: number | null, field: string): AdmittedBatch | Failure {
  const wrong = sizeProblem(info.count, batchView, field);
  if (wrong) return wrong;
  const facts = infoFacts(info.view);
  if (facts.hasTransaction) return unsupported(`${field}.info.transaction_id`, 'transactions');
  if (facts.hasDelay) return unsupported(`${field}.info.deliver_at_ms`, 'delayed delivery');
  if (facts.hasExpiry) return unsupported(`${field}.info.expire_at_ms`, 'expiry of single messages');
  const plain = info.codec === 0 && !facts.encrypted && facts.entryFormat === 0;
  const walked = plain ? walkBatch(batchView, info.count, facts.keyHashes === null) : NOT_WALKED;
  if (walked.kind === 'failure') return { ...walked, detail: { field: `${field}.batch`, ...walked.detail } };
  if (!plain && facts.uncompressedBytes > BATCH_BYTES_MAX)
    return fail('message_too_large', `${field} has ${facts.uncompressedBytes} bytes before compression; the most is ${BATCH_BYTES_MAX}`, {
      field: `${field}.info.uncompressed_bytes`,
    });
  const real = crc32c(batchView);
  if (crc !== null && crc !== real)
    return fail('corrupt_batch', `${field}.crc32c is ${hex(crc)}, and the bytes have ${hex(real)}`, { field: `${field}.crc32c` });
  if (walked.hashes === null) return { kind: 'admitted', info, crc: real, keyHashes: facts.keyHashes };
  const column = hashColumn(walked.hashes);
  const view = Buffer.concat([info.view, bytesField(8, column)]);
  return { kind: 'admitted', info: { ...info, view, keyHashes: walked.hashes.length }, crc: real, keyHashes: column };
}

export function sizeProblem(count: number, batchView: Buffer, field: string): Failure | null {
  if (count < 1 || count > BATCH_COUNT_MAX)
    return fail('invalid_argument', `${field}.info.count is ${count}; a batch has 1 to ${BATCH_COUNT_MAX} messages`, {
      field: `${field}.info.count`,
    });
  if (batchView.length > BATCH_BYTES_MAX)
    return fail('message_too_large', `${field}.batch has ${batchView.length} bytes; the most is ${BATCH_BYTES_MAX}`, {
      field: `${field}.batch`,
    });
  return null;
}

interface Walked {
  readonly kind: 'walked';
  /** One a message, 0 without a key; null: no message has one, or they were not asked for. */
  readonly hashes: Uint32Array | null;
}

const NOT_WALKED: Walked = { kind: 'walked', hashes: null };

/** One pass over the structure, with the keys' hashes where they are wanted. */
function walkBatch(batchView: Buffer, count: number, wantHashes: boolean): Walked | Failure {
  const cursor = new BatchCursor(batchView);
  let hashes: Uint32Array | null = null;
  while (cursor.next()) {
    if (!wantHashes || cursor.keyStart < 0 || cursor.count > count) continue;
    hashes ??= new Uint32Array(count);
    hashes[cursor.count - 1] = cursor.keyHash();
  }
  if (cursor.failure) return cursor.failure;
  if (cursor.count !== count)
    return fail('corrupt_batch', `the batch has ${cursor.count} messages, and its info says ${count}`, { count: String(cursor.count) });
  return hashes === null ? NOT_WALKED : { kind: 'walked', hashes };
}

function unsupported(field: string, what: string): Failure {
  return fail('unsupported', `${field}: this server does not have ${what}`, { field });
}

const hex = (value: number): string => `0x${(value >>> 0).toString(16).padStart(8, '0')}`;
