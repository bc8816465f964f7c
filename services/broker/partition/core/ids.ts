// Idempotency ids of `Send`, in the order of their entries: a repeat within the window is answered with the first one's offsets. Bounded in
// number; the oldest go first. They lie in segments, of which a checkpoint writes only the changed ones.

import { amount, FieldError, list, text } from './fields.ts';

const SEGMENT_IDS_MAX = 256;

export interface StoredId {
  readonly offset: number;
  readonly count: number;
  readonly appendTimeMs: number;
  readonly segment: number;
}

interface Segment {
  readonly number: number;
  readonly ids: string[];
  newestMs: number;
  dirty: boolean;
}

export class IdempotencyIds {
  readonly #known = new Map<string, StoredId>();
  #segments: Segment[] = [];
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#known.size;
  }

  /** What an id was answered with; undefined when it is new or older than `oldestMs`. */
  find(id: string, oldestMs: number): StoredId | undefined {
    const stored = this.#known.get(id);
    return stored === undefined || stored.appendTimeMs < oldestMs ? undefined : stored;
  }

  apply(id: string, offset: number, count: number, appendTimeMs: number): void {
    let segment = this.#segments.at(-1);
    if (segment === undefined || segment.ids.length >= SEGMENT_IDS_MAX) {
      segment = { number: (segment?.number ?? -1) + 1, ids: [], newestMs: appendTimeMs, dirty: true };
      this.#segments.push(segment);
    }
    segment.ids.push(id);
    segment.newestMs = appendTimeMs;
    segment.dirty = true;
    this.#known.set(id, { offset, count, appendTimeMs, segment: segment.number });
    while (this.#known.size > this.#max && this.#segments.length > 1) this.#dropOldest();
  }

  /** Forgets whole segments that are older than `oldestMs`. */
  expire(oldestMs: number): void {
    while ((this.#segments[0]?.newestMs ?? Infinity) < oldestMs) this.#dropOldest();
  }

  /** All that is remembered, oldest first. */
  entries(): IterableIterator<[string, StoredId]> {
    return this.#known.entries();
  }

  /** Segment number → changed since it was last taken. */
  *segments(): IterableIterator<readonly [number, boolean]> {
    for (const segment of this.#segments) yield [segment.number, segment.dirty];
  }

  /** One segment as JSON: id, offset, count, time, … */
  encode(number: number): readonly (string | number)[] {
    const flat: (string | number)[] = [];
    for (const segment of this.#segments) {
      if (segment.number !== number) continue;
      segment.dirty = false;
      for (const id of segment.ids) {
        const stored = this.#known.get(id);
        if (stored?.segment === number) flat.push(id, stored.offset, stored.count, stored.appendTimeMs);
      }
    }
    return flat;
  }

  /** Puts back a segment; they come in the order of their numbers. */
  restore(number: number, data: unknown): void {
    const flat = list(data, 'ids');
    if (flat.length % 4 !== 0) throw new FieldError('a segment of ids is cut short');
    if (number <= (this.#segments.at(-1)?.number ?? -1)) throw new FieldError('segments of ids are not in order');
    const segment: Segment = { number, ids: [], newestMs: 0, dirty: false };
    for (let at = 0; at < flat.length; at += 4) {
      const id = text(flat[at], 'id');
      const appendTimeMs = amount(flat[at + 3], 'time');
      segment.ids.push(id);
      segment.newestMs = Math.max(segment.newestMs, appendTimeMs);
      this.#known.set(id, { offset: amount(flat[at + 1], 'offset'), count: amount(flat[at + 2], 'count'), appendTimeMs, segment: number });
    }
    this.#segments.push(segment);
  }

  #dropOldest(): void {
    const oldest = this.#segments.shift();
    if (oldest === undefined) return;
    for (const id of oldest.ids) if (this.#known.get(id)?.segment === oldest.number) this.#known.delete(id);
  }
}
