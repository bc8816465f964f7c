// One request to one bookie as a promise, for what is not on the write path; and what several bookies list of a partition.

import { Listings } from '#lib/ledger/core/chain.ts';
import type { BookieReply, BookieRequest, BookieTransport } from '#lib/ledger/protocol.ts';
import type { BookieId, LedgerId, PartitionId } from '#lib/types/brands.ts';

export function ask(transport: BookieTransport, to: BookieId, request: BookieRequest): Promise<BookieReply> {
  return new Promise(resolve => transport.send(to, request, resolve));
}

const PAGE = 256;

/** Everything that all bookies hold of a partition. `complete`: every registered bookie has answered. */
export async function listPartition(
  transport: BookieTransport,
  partition: PartitionId,
): Promise<{ readonly listings: Listings; readonly complete: boolean }> {
  const listings = new Listings();
  const answered = await Promise.all(transport.bookies().map(bookie => listOne(transport, bookie.id, partition, listings)));
  return { listings, complete: answered.length > 0 && answered.every(Boolean) };
}

async function listOne(transport: BookieTransport, bookie: BookieId, partition: PartitionId, into: Listings): Promise<boolean> {
  let after: LedgerId | null = null;
  for (;;) {
    const reply: BookieReply = await ask(transport, bookie, { kind: 'list', partitions: [partition], countMax: PAGE, after });
    if (reply.kind !== 'list') return false;
    const listing = reply.partitions.find(found => found.partition === partition);
    if (!listing) return true;
    into.add(bookie, listing);
    const last: LedgerId | undefined = listing.ledgers.at(-1)?.descriptor.ledger;
    if (!listing.more || last === undefined) return true;
    after = last;
  }
}
