// Splits bytes into lines, whatever their encoding: a line ends at the byte 0x0A, the last one needs none. It is a pull parser, so that
// its user can stop in the middle of a chunk; it holds at most one chunk and one unfinished line, whose length is bounded.

export interface LineSplitterOptions {
  readonly lineBytesMax: number;
}

export class LineSplitter {
  /** Lines given out so far. */
  count = 0;
  readonly #lineBytesMax: number;
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;
  /** The pieces of a line that began in an earlier chunk. */
  #pieces: Buffer[] = [];
  #piecesBytes = 0;

  constructor(options: LineSplitterOptions) {
    this.#lineBytesMax = options.lineBytesMax;
  }

  /** `owned` is given away: lines are views of it. Only when `next` has answered undefined. */
  push(owned: Buffer): void {
    this.#chunk = owned;
    this.#at = 0;
  }

  /** The next whole line without its newline; undefined: push more; 'too long': the line after `count` exceeds the limit. */
  next(): Buffer | undefined | 'too long' {
    const end = this.#chunk.indexOf(10, this.#at);
    if (end < 0) return this.#keepRest();
    const tail = this.#chunk.subarray(this.#at, end);
    this.#at = end + 1;
    return this.#line(tail);
  }

  /** After the last chunk: a last line without a newline, or undefined. */
  end(): Buffer | undefined {
    return this.#piecesBytes === 0 ? undefined : this.#joined(Buffer.alloc(0));
  }

  #keepRest(): undefined | 'too long' {
    const rest = this.#chunk.subarray(this.#at);
    this.#at = this.#chunk.length;
    if (rest.length === 0) return undefined;
    this.#pieces.push(rest);
    this.#piecesBytes += rest.length;
    return this.#piecesBytes > this.#lineBytesMax ? 'too long' : undefined;
  }

  #line(tail: Buffer): Buffer | 'too long' {
    if (this.#piecesBytes + tail.length > this.#lineBytesMax) return 'too long';
    return this.#joined(tail);
  }

  #joined(tail: Buffer): Buffer {
    this.count++;
    if (this.#piecesBytes === 0) return tail;
    const line = Buffer.concat([...this.#pieces, tail]);
    this.#pieces = [];
    this.#piecesBytes = 0;
    return line;
  }
}
