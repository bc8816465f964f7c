// The bytes of a file in memory: in pages, and a page of zeros takes no memory, because a journal fills its files with zeros before it
// uses them.

const PAGE_BYTES = 16 * 1024;
const ZEROS = Buffer.alloc(PAGE_BYTES);

/** What was never written reads as zeros, up to `size`. */
export class PagedBytes {
  readonly #pages = new Map<number, Buffer>();
  size = 0;

  get heldBytes(): number {
    return this.#pages.size * PAGE_BYTES;
  }

  write(view: Uint8Array, position: number): void {
    if (view.length === 0) return;
    for (let done = 0; done < view.length; ) {
      const at = position + done;
      const within = at % PAGE_BYTES;
      const part = view.subarray(done, done + Math.min(PAGE_BYTES - within, view.length - done));
      this.#writePage((at - within) / PAGE_BYTES, within, part);
      done += part.length;
    }
    this.size = Math.max(this.size, position + view.length);
  }

  read(target: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(target.length, this.size - position));
    for (let done = 0; done < count; ) {
      const at = position + done;
      const within = at % PAGE_BYTES;
      const length = Math.min(PAGE_BYTES - within, count - done);
      const page = this.#pages.get((at - within) / PAGE_BYTES) ?? ZEROS;
      target.set(page.subarray(within, within + length), done);
      done += length;
    }
    return count;
  }

  truncate(size: number): void {
    for (const number of [...this.#pages.keys()]) if (number * PAGE_BYTES >= size) this.#pages.delete(number);
    if (size < this.size && size % PAGE_BYTES > 0) this.#pages.get(Math.floor(size / PAGE_BYTES))?.fill(0, size % PAGE_BYTES);
    this.size = size;
  }

  toBuffer(): Buffer {
    const all = Buffer.alloc(this.size);
    this.read(all, 0);
    return all;
  }

  copy(): PagedBytes {
    const copy = new PagedBytes();
    for (const [number, page] of this.#pages) copy.#pages.set(number, Buffer.from(page));
    copy.size = this.size;
    return copy;
  }

  #writePage(number: number, within: number, part: Uint8Array): void {
    const page = this.#pages.get(number);
    if (page) {
      page.set(part, within);
      return;
    }
    if (ZEROS.compare(part, 0, part.length, 0, part.length) === 0) return;
    const fresh = Buffer.alloc(PAGE_BYTES);
    fresh.set(part, within);
    this.#pages.set(number, fresh);
  }
}
