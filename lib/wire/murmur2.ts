// Murmur2 as Kafka's default partitioner computes it (32 bit, seed 0x9747b28c): equal keys go to the same partition whichever client
// sends them, and topics moved over from Kafka keep their keys' partitions.

const SEED = 0x9747b28c;
const MULTIPLIER = 0x5bd1e995;

/** The hash of `key`, 0 … 2^32 − 1. `start` and `end` choose a part of it. */
export function murmur2(key: Uint8Array, start = 0, end: number = key.length): number {
  const length = end - start;
  const wordsEnd = start + (length & ~3);
  let hash = SEED ^ length;
  let at = start;
  for (; at < wordsEnd; at += 4) {
    const word = (key[at] ?? 0) | ((key[at + 1] ?? 0) << 8) | ((key[at + 2] ?? 0) << 16) | ((key[at + 3] ?? 0) << 24);
    const mixed = Math.imul(word, MULTIPLIER);
    hash = Math.imul(hash, MULTIPLIER) ^ Math.imul(mixed ^ (mixed >>> 24), MULTIPLIER);
  }
  const rest = end - at;
  if (rest === 3) hash ^= (key[at + 2] ?? 0) << 16;
  if (rest >= 2) hash ^= (key[at + 1] ?? 0) << 8;
  if (rest >= 1) hash = Math.imul(hash ^ (key[at] ?? 0), MULTIPLIER);
  hash = Math.imul(hash ^ (hash >>> 13), MULTIPLIER);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Made positive by dropping the sign, then modulo, as Kafka does. */
export function partitionOfHash(hash: number, partitions: number): number {
  return (hash & 0x7fff_ffff) % partitions;
}

export function partitionOfKey(key: Uint8Array, partitions: number): number {
  return partitionOfHash(murmur2(key), partitions);
}
