// How many messages lie below an offset. Offsets are not dense (control entries take some), so this is never a subtraction of offsets
// where a control entry lies between. Kept are points (offset, messages below it); between two neighbours the offsets are all messages
// (both differences are equal), all control (the counts are equal) or mixed. New entries give only pure runs; where the list has been
// thinned, or begins, an answer may be an estimate, and says so.
//
//   offset   0 . . . . 5 . 7 . . 10          messages at 0-4 and 7-9, control entries at 5 and 6
//   count    0         5   5     8           points (0,0) (5,5) (7,5), and the end (10,8)

import { assert } from '#lib/types/assert.ts';

/** Memory for one partition stays at about 4 KiB. */
const POINTS_MAX = 256;

export interface CountAt {
  readonly count: number;
  readonly exact: boolean;
}

export class Counts {
  #offsets: number[];
  #counts: number[];
  #end: number;
  #total: number;

  constructor(offset: number, count: number) {
    this.#offsets = [offset];
    this.#counts = [count];
    this.#end = offset;
    this.#total = count;
  }

  /** The offset after the last entry. */
  get end(): number {
    return this.#end;
  }

  /** Messages below `end`: the cumulative count of the next entry. */
  get total(): number {
    return this.#total;
  }

  /** An entry at `end`: `span` offsets with `messages` messages (equal to the span, or 0). */
  append(span: number, messages: number): void {
    assert(messages === span || messages === 0, 'an entry is all messages or all control');
    const last = this.#offsets.length - 1;
    const run = this.#end - (this.#offsets[last] ?? 0);
    const runMessages = this.#total - (this.#counts[last] ?? 0);
    const goesOn = run === 0 || (messages === 0 ? runMessages === 0 : runMessages === run);
    if (!goesOn) this.#push(this.#end, this.#total);
    this.#end += span;
    this.#total += messages;
  }

  /** Offsets up to `to` were lost; nobody knows how many messages they had, and they count as none. */
  skip(to: number): void {
    assert(to >= this.#end, 'a gap goes forward');
    this.append(to - this.#end, 0);
  }

  /** Messages below `offset`; beyond the end: the total. */
  at(offset: number): CountAt {
    if (offset >= this.#end) return { count: this.#total, exact: offset === this.#end };
    const index = this.#find(offset);
    if (index < 0) {
      const first = this.#offsets[0] ?? 0;
      const count = this.#counts[0] ?? 0;
      return { count: Math.max(0, count - (first - offset)), exact: count === 0 };
    }
    const from = this.#offsets[index] ?? 0;
    const count = this.#counts[index] ?? 0;
    const span = (this.#offsets[index + 1] ?? this.#end) - from;
    const messages = (this.#counts[index + 1] ?? this.#total) - count;
    if (messages === 0 || offset === from) return { count, exact: true };
    const estimate = Math.min(count + (offset - from), count + messages);
    return { count: estimate, exact: messages === span };
  }

  /** The first known point above `offset`, the end included; undefined at the end. */
  next(offset: number): { readonly offset: number; readonly count: number } | undefined {
    if (offset >= this.#end) return undefined;
    const index = this.#find(offset) + 1;
    return { offset: this.#offsets[index] ?? this.#end, count: this.#counts[index] ?? this.#total };
  }

  /** A fact read from an entry's header: below `offset` there are `count` messages. */
  learn(offset: number, count: number): void {
    if (offset >= this.#end || this.at(offset).exact) return;
    const index = this.#find(offset) + 1;
    const above = this.#counts[index] ?? this.#total;
    assert(count <= above && count >= (this.#counts[index - 1] ?? 0), 'counts only grow with the offsets');
    this.#offsets.splice(index, 0, offset);
    this.#counts.splice(index, 0, count);
    if (this.#offsets.length > POINTS_MAX) this.#thin();
  }

  /** Forgets what is below `offset`, as far as the answers from there on stay as exact as they are. */
  forgetBelow(offset: number): void {
    const index = Math.min(this.#find(Math.min(offset, this.#end)), this.#offsets.length - 1);
    if (index <= 0) return;
    this.#offsets.splice(0, index);
    this.#counts.splice(0, index);
  }

  /** The last point at or below `offset`; -1: all are above. */
  #find(offset: number): number {
    let low = 0;
    let high = this.#offsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#offsets[middle] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #push(offset: number, count: number): void {
    this.#offsets.push(offset);
    this.#counts.push(count);
    if (this.#offsets.length > POINTS_MAX) this.#thin();
  }

  /** Drops every second point of the older half: the newest are the ones that are asked for. */
  #thin(): void {
    const half = this.#offsets.length >>> 1;
    const keep = (_: number, index: number): boolean => index >= half || index % 2 === 0;
    this.#offsets = this.#offsets.filter(keep);
    this.#counts = this.#counts.filter(keep);
  }
}
