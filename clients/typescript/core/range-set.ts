// Ranges [first, end) of offsets, sorted and merged. Adding at the end, which is what a consumer that works in order does, costs nothing.

export class RangeSet {
  /** first, end, first, end … */
  #bounds: number[] = [];

  /** How many ranges. */
  get count(): number {
    return this.#bounds.length / 2;
  }

  add(first: number, end: number): void {
    const bounds = this.#bounds;
    const length = bounds.length;
    const lastEnd = bounds[length - 1];
    if (lastEnd === undefined || first > lastEnd) {
      bounds.push(first, end);
      return;
    }
    if (first >= (bounds[length - 2] ?? 0)) {
      if (end > lastEnd) bounds[length - 1] = end;
      return;
    }
    this.#insert(first, end);
  }

  /** Everything below `offset` goes. */
  dropBelow(offset: number): void {
    const at = this.#firstEndingAbove(offset);
    if (at > 0) this.#bounds.splice(0, at);
    if (this.#bounds.length > 0 && (this.#bounds[0] ?? 0) < offset) this.#bounds[0] = offset;
  }

  /** Keeps the newest `count` ranges. */
  keepNewest(count: number): void {
    if (this.count > count) this.#bounds.splice(0, this.#bounds.length - 2 * count);
  }

  clear(): void {
    this.#bounds = [];
  }

  has(first: number, end: number): boolean {
    const at = this.#firstEndingAbove(first);
    return at < this.#bounds.length && (this.#bounds[at] ?? 0) <= first && (this.#bounds[at + 1] ?? 0) >= end;
  }

  pairs(): (readonly [number, number])[] {
    const pairs: (readonly [number, number])[] = [];
    for (let at = 0; at < this.#bounds.length; at += 2) pairs.push([this.#bounds[at] ?? 0, this.#bounds[at + 1] ?? 0]);
    return pairs;
  }

  /** Index of the first range whose end is above `offset`. */
  #firstEndingAbove(offset: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#bounds[2 * middle + 1] ?? 0) > offset) high = middle;
      else low = middle + 1;
    }
    return 2 * low;
  }

  #insert(first: number, end: number): void {
    const bounds = this.#bounds;
    // Ranges that touch [first, end) become one with it.
    const from = this.#firstEndingAbove(first - 1);
    let to = from;
    let low = first;
    let high = end;
    for (; to < bounds.length && (bounds[to] ?? 0) <= end; to += 2) {
      low = Math.min(low, bounds[to] ?? low);
      high = Math.max(high, bounds[to + 1] ?? high);
    }
    bounds.splice(from, to - from, low, high);
  }
}
