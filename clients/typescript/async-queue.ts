// Hands items to whoever iterates, in order, one at a time; several iterators share them. Ends for good, with or without an error. What
// bounds it is the producer's business: it is told of every item that is taken.

import { Deque } from './core/deque.ts';

interface Waiter<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: Error) => void;
}

export class AsyncQueue<T> {
  readonly #items = new Deque<T>();
  readonly #waiters = new Deque<Waiter<T>>();
  /** Called when an item leaves; may throw what the taker shall see instead of it. */
  readonly #onTaken: (item: T) => void;
  #end: { readonly error: Error | null } | null = null;

  constructor(onTaken: (item: T) => void) {
    this.#onTaken = onTaken;
  }

  push(item: T): void {
    if (this.#end) return;
    this.#items.push(item);
    const waiter = this.#waiters.shift();
    if (!waiter) return;
    try {
      const taken = this.take();
      if (taken === undefined) waiter.resolve(DONE);
      else waiter.resolve({ value: taken, done: false });
    } catch (error) {
      waiter.reject(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** The next one that is there; throws what `onTaken` throws. */
  take(): T | undefined {
    const item = this.#items.shift();
    if (item !== undefined) this.#onTaken(item);
    return item;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    try {
      const item = this.take();
      if (item !== undefined) return Promise.resolve({ value: item, done: false });
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#end) return this.#end.error ? Promise.reject(this.#end.error) : Promise.resolve(DONE);
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** No more items. What is there is still handed out, unless there is an error or `drop`. */
  end(error: Error | null, drop: boolean): void {
    if (this.#end) return;
    this.#end = { error };
    if (drop) this.#items.drain();
    for (const waiter of this.#waiters.drain()) {
      if (error) waiter.reject(error);
      else waiter.resolve(DONE);
    }
  }

  removeUnless(keep: (item: T) => boolean): T[] {
    return this.#items.removeUnless(keep);
  }
}

const DONE: IteratorResult<never, undefined> = { value: undefined, done: true };

/** An iterator over calls of `next`; leaving it early leaves what it iterates as it is. */
export class QueueIterator<T> implements AsyncIterableIterator<T, undefined> {
  readonly #next: () => Promise<IteratorResult<T, undefined>>;

  constructor(next: () => Promise<IteratorResult<T, undefined>>) {
    this.#next = next;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return this.#next();
  }

  return(): Promise<IteratorResult<T, undefined>> {
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
