// When `consume --until-end` is done: at what was the end of each partition when it began. Offsets are not dense: control entries may take
// the last ones before the end, and then no message ever reaches it. So a partition is done when a message at or beyond the end has come,
// when as many messages have come as were not acknowledged, or when the server says that nothing below the end is left.

export interface PartitionEnd {
  readonly topic: string;
  readonly partition: number;
  readonly markDelete: number;
  readonly endOffset: number;
  /** Messages not acknowledged, counted. */
  readonly backlog: number;
}

interface Waiting {
  readonly end: number;
  left: number;
  /** The highest offset that has come: a repeat after a lost connection is not counted again. */
  highest: number;
}

export class UntilEnd {
  readonly #waiting = new Map<string, Waiting>();

  constructor(partitions: readonly PartitionEnd[]) {
    for (const { topic, partition, markDelete, endOffset, backlog } of partitions) {
      if (backlog > 0 && markDelete < endOffset) this.#waiting.set(keyOf(topic, partition), { end: endOffset, left: backlog, highest: -1 });
    }
  }

  get done(): boolean {
    return this.#waiting.size === 0;
  }

  /** True: the message lies before the end and belongs to this run. */
  take(topic: string, partition: number, offset: number): boolean {
    const waiting = this.#waiting.get(keyOf(topic, partition));
    if (!waiting) return false;
    if (offset >= waiting.end) {
      this.#waiting.delete(keyOf(topic, partition));
      return false;
    }
    if (offset > waiting.highest) {
      waiting.highest = offset;
      waiting.left--;
    }
    if (waiting.left <= 0 || offset + 1 >= waiting.end) this.#waiting.delete(keyOf(topic, partition));
    return true;
  }

  /** What the server says now, asked when nothing has come for a while and all that came is acknowledged. */
  observe(partitions: readonly PartitionEnd[]): void {
    for (const { topic, partition, markDelete, backlog } of partitions) {
      const waiting = this.#waiting.get(keyOf(topic, partition));
      if (waiting && (markDelete >= waiting.end || backlog === 0)) this.#waiting.delete(keyOf(topic, partition));
    }
  }
}

const keyOf = (topic: string, partition: number): string => `${topic}:${partition}`;
