// How long to wait before the next attempt: doubles from the first to the longest, with chance taking up to half away, so that clients
// of a server that comes back do not all arrive at once.

export class Backoff {
  readonly #firstMs: number;
  readonly #longestMs: number;
  #attempts = 0;

  constructor(firstMs: number, longestMs: number) {
    this.#firstMs = firstMs;
    this.#longestMs = longestMs;
  }

  get attempts(): number {
    return this.#attempts;
  }

  /** `random` is uniform in [0, 1). */
  next(random: number): number {
    const full = Math.min(this.#longestMs, this.#firstMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts += 1;
    return full * (1 - random / 2);
  }

  reset(): void {
    this.#attempts = 0;
  }
}
