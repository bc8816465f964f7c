// For tests of bookies: small worlds, descriptors and entries.

import type { BookieReply, BookieRequest, LedgerDescriptor } from '#lib/ledger/protocol.ts';
import { nullLogger } from '#lib/runtime/loggers.ts';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import { nodeClock } from '#lib/runtime/node/clock.ts';
import type { Disk, Logger, World } from '#lib/runtime/ports.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import { type BookieId, ledgerId, type Offset, offset, partitionId, topicId } from '#lib/types/brands.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry, entryEnd } from '#lib/wire/entry.ts';
import type { Bookie } from '../bookie.ts';
import { type BookieConfig, bookieDefaults } from '../config.ts';

export const TOPIC = topicId('0192f000-0000-7000-8000-000000000001');
export const PARTITION = partitionId(TOPIC, 0);
export const CLUSTER = '0192f000-0000-4000-8000-00000000000c';

export const testLedgerId = (n: number) => ledgerId(`0192f000-0000-7000-8000-1${n.toString(16).padStart(11, '0')}`);
export const testBallot = (epoch: number): Ballot => ({ epoch, incarnation: '00000000000000aa' });

export function testDescriptor(n: number, bookie: BookieId, partition = PARTITION, creator = testBallot(1)): LedgerDescriptor {
  return { ledger: testLedgerId(n), partition, topic: TOPIC, prev: null, ensemble: [bookie], ackQuorum: 1, creator };
}

/** A batch of `count` messages at `at`, with `payload`. */
export function testEntry(at: number, payload: Buffer, count = 1, timeMs = 1000 + at): Buffer {
  const header = { kind: 'batch', baseOffset: at, count, cumulativeCount: at, appendTimeMs: timeMs, checkpointOffset: -1 } as const;
  return encodeEntry(header, [], payload, crc32c(payload));
}

/** A small bookie: little cache and journal, so that flushes and recycling happen soon. */
export function smallConfig(folder = '/data'): BookieConfig {
  return {
    ...bookieDefaults(folder, CLUSTER),
    writeCacheBytes: 64 * 1024,
    journalFileBytes: 64 * 1024,
    journalFilesMax: 8,
    journalGroupBytes: 64 * 1024,
    journalQueueBytes: 1024 * 1024,
    manifestBytes: 4 * 1024,
    reservedDisk: 0,
    scrubBytesPerSecond: 0,
  };
}

/** Real turns of the loop, a given disk: for tests that need no control over time. */
export function quickWorld(disk: Disk = memoryDisk(), logger: Logger = nullLogger()): World {
  return {
    clock: nodeClock(),
    random: simRandom(1),
    disk,
    logger,
    fatal: (reason, error) => {
      throw new Error(reason, { cause: error });
    },
  };
}

export function ask(bookie: Bookie, request: BookieRequest): Promise<BookieReply> {
  return new Promise(resolve => bookie.handle(request, resolve));
}

export function appendRequest(
  n: number,
  epoch: number,
  entry: Buffer,
  at: number,
  first = 0,
  ackedEnd = at,
  reserved = false,
): BookieRequest {
  return {
    kind: 'append',
    ledger: testLedgerId(n),
    ballot: testBallot(epoch),
    first: offset(first),
    offset: offset(at),
    span: entryEnd(entry) - at,
    ackedEnd: offset(ackedEnd),
    bytes: entry,
    reserved,
  };
}

/** All entries of a ledger from `from` on, as `ballot` may read them. */
export async function readAll(bookie: Bookie, n: number, ballot: Ballot | null, from = 0, bytesMax = 20_000): Promise<Buffer[]> {
  const all: Buffer[] = [];
  for (let at: Offset = offset(from); ; ) {
    const reply = await ask(bookie, { kind: 'read', ledger: testLedgerId(n), ballot, offset: at, bytesMax });
    if (reply.kind !== 'entries') throw new Error(`read at ${at}: ${JSON.stringify(reply)}`);
    all.push(...reply.entries);
    const last = reply.entries.at(-1);
    if (!last) return all;
    at = offset(entryEnd(last));
  }
}
