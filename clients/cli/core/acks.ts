// The record of `produce --acks-file`: `line,partition,offset` of each line, in the order of the lines, as far as all lines before it are
// acknowledged. Acknowledgements come in any order over partitions; what waits is bounded by what the producer has in flight.

export class AckRecord {
  /** The first line whose acknowledgement has not come; lines are counted from 1. */
  next = 1;
  #text = '';
  /** Index = line − #base; 0 means: not yet. Two arrays of numbers, no object a line. */
  #partitions: number[] = [];
  #offsets: number[] = [];
  #base = 1;

  /** How many places are held for lines that wait for an earlier one. */
  get held(): number {
    return this.#offsets.length;
  }

  acknowledged(line: number, partition: number, offset: number): void {
    if (line === this.next) {
      this.#write(partition, offset);
      if (this.#offsets.length > 0) this.#drain();
      else this.#base = this.next;
      return;
    }
    while (this.#offsets.length <= line - this.#base) {
      this.#offsets.push(-1);
      this.#partitions.push(-1);
    }
    this.#offsets[line - this.#base] = offset;
    this.#partitions[line - this.#base] = partition;
  }

  /** What is to be appended to the file now. */
  take(): string {
    const text = this.#text;
    this.#text = '';
    return text;
  }

  #write(partition: number, offset: number): void {
    this.#text += `${this.next},${partition},${offset}\n`;
    this.next++;
  }

  #drain(): void {
    for (let index = this.next - this.#base; index < this.#offsets.length; index++) {
      const offset = this.#offsets[index] ?? -1;
      if (offset < 0) break;
      this.#write(this.#partitions[index] ?? 0, offset);
    }
    // Cut off what is written once it is half of the array, so that this costs little a line.
    const written = this.next - this.#base;
    if (written * 2 < this.#offsets.length) return;
    this.#offsets = this.#offsets.slice(written);
    this.#partitions = this.#partitions.slice(written);
    this.#base = this.next;
  }
}
