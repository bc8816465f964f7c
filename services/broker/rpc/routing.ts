// Which partition a batch belongs to: that of its keys, as Kafka's default partitioner computes it, or the next one in turn.

import { type Failure, fail } from '#lib/types/errors.ts';
import { partitionOfHash } from '#lib/wire/murmur2.ts';

/** `keyHashes`: four bytes a message, 0 means "no key". Null: no message has a key, any partition will do. */
export function partitionOfBatch(keyHashes: Buffer | null, partitions: number, field: string): number | null | Failure {
  if (keyHashes === null) return null;
  let found: number | null = null;
  for (let at = 0; at < keyHashes.length; at += 4) {
    const hash = keyHashes.readUInt32LE(at);
    if (hash === 0) continue;
    const partition = partitionOfHash(hash, partitions);
    if (found !== null && found !== partition)
      return fail('invalid_argument', `the keys of ${field} belong to partitions ${found} and ${partition}; send a batch for each`, {
        field,
      });
    found = partition;
  }
  return found;
}
