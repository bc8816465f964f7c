// `sluice doctor --salvage`: after a damage, what is lost, and accepting it. A bookie in doubt gives no vote on ledgers whose promises or
// entries it may have forgotten; with other copies the ensemble goes on without it. With R 1 nobody else can: somebody has to look at the
// list and say that the rest is to be served. The partition's owner then begins a gap behind it.

import type { World } from '#lib/runtime/ports.ts';
import type { BookieId, LedgerId, Offset, PartitionId } from '#lib/types/brands.ts';
import type { BookieConfig } from './config.ts';
import { createBookie } from './open.ts';
import type { DamagedRange } from './scrub.ts';

/** An undecided ledger of which something may be missing: entries behind `end`, or a promise. */
export interface DoubtfulLedger {
  readonly ledger: LedgerId;
  readonly partition: PartitionId;
  readonly first: Offset | null;
  /** What is held ends here. */
  readonly end: Offset | null;
  /** What is known to have been acknowledged: beyond `end` it is lost. */
  readonly ackedEnd: Offset | null;
  /** How many other bookies have a copy. */
  readonly otherCopies: number;
}

export interface SalvageReport {
  readonly bookie: BookieId;
  /** Ids that are in doubt. None: nothing to salvage. */
  readonly doubtfulIds: readonly BookieId[];
  readonly ledgers: readonly DoubtfulLedger[];
  /** Entries in segments that cannot be read. */
  readonly damaged: readonly DamagedRange[];
  readonly accepted: boolean;
}

/** Looks at a folder that no server is using. With `accept`, the bookie votes again with what it has; that cannot be taken back. */
export async function salvage(world: World, config: BookieConfig, accept: boolean): Promise<SalvageReport> {
  const bookie = await createBookie(world, { ...config, scrubBytesPerSecond: 0 });
  try {
    const doubtfulIds = bookie.doubtfulIds();
    const ledgers = bookie.doubtful().map(({ id, partition, replica }): DoubtfulLedger => {
      const { first, end, ackedEnd, descriptor } = replica.state();
      return { ledger: id, partition, first, end, ackedEnd, otherCopies: descriptor.ensemble.length - 1 };
    });
    const damaged = await bookie.verify();
    const accepts = accept && doubtfulIds.length > 0;
    if (accepts) await bookie.acceptLoss();
    return { bookie: bookie.id, doubtfulIds, ledgers, damaged, accepted: accepts };
  } finally {
    await bookie.close();
  }
}
