// From a position as clients name it to an offset, and to how many messages lie below it. What "earliest" and "latest" are is decided when
// the answer is used: a place that took time to find is clamped to the log as it is then.

import { type Offset, offset as toOffset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { entryBaseOffset, entryCount, entryCumulativeCount } from '#lib/wire/entry.ts';
import type { PositionFrame } from '#lib/wire/frames.ts';
import type { PartitionState } from './core/state.ts';
import type { PartitionWriter } from './writer.ts';

export type Place =
  | { readonly kind: 'earliest' }
  | { readonly kind: 'latest' }
  | { readonly kind: 'at'; readonly from: number; readonly count: number };

const EARLIEST: Place = { kind: 'earliest' };
const LATEST: Place = { kind: 'latest' };

/** The place in the log as it is now. */
export function placeAtEnd(state: PartitionState, place: Place): { readonly from: number; readonly count: number } {
  if (place.kind === 'latest') return { from: state.end, count: state.counts.total };
  if (place.kind === 'earliest' || place.from < state.start) return { from: state.start, count: state.startCount };
  return { from: place.from, count: place.count };
}

export class Positions {
  readonly #writer: PartitionWriter;

  constructor(writer: PartitionWriter) {
    this.#writer = writer;
  }

  async find(position: PositionFrame): Promise<Place | Failure> {
    const writer = this.#writer;
    if (writer.refusal !== null) return writer.refusal;
    switch (position.kind) {
      case 'earliest':
        return EARLIEST;
      case 'latest':
        return LATEST;
      case 'offset':
        if (!Number.isSafeInteger(position.offset) || position.offset < 0)
          return fail('invalid_argument', `${position.offset} is no offset`, { field: 'offset' });
        return this.#at(position.offset);
      case 'time': {
        if (!Number.isFinite(position.timeMs)) return fail('invalid_argument', `${position.timeMs} is no time`, { field: 'time_ms' });
        const found = await writer.log.locate('time', Math.max(0, position.timeMs));
        if (isFailure(found)) return found;
        return found === null ? LATEST : this.#at(found);
      }
    }
  }

  /** Messages below `offset`, which is not below the start: from memory, or from the header of the entry there. */
  async countAt(offset: number): Promise<number | Failure> {
    const { state, log } = this.#writer;
    const known = state.counts.at(offset);
    if (known.exact) return known.count;
    if (offset === state.start) return state.startCount;
    const entries = await log.read(toOffset(offset), 1);
    if (isFailure(entries)) return entries;
    const entry = entries[0];
    if (entry === undefined) return state.counts.at(offset).count;
    const inside = entryCount(entry) === 0 ? 0 : offset - entryBaseOffset(entry);
    return entryCumulativeCount(entry) + inside;
  }

  /** Where a position stands for a reader: within what is acknowledged. */
  async resolve(position: PositionFrame): Promise<Offset | Failure> {
    const place = await this.find(position);
    if (isFailure(place)) return place;
    const { state, acked } = this.#writer;
    if (place.kind === 'latest') return acked;
    return toOffset(Math.min(acked, placeAtEnd(state, place).from));
  }

  async #at(offset: number): Promise<Place | Failure> {
    const { state } = this.#writer;
    if (offset >= state.end) return LATEST;
    if (offset <= state.start) return EARLIEST;
    const count = await this.countAt(offset);
    return isFailure(count) ? count : { kind: 'at', from: offset, count };
  }
}
