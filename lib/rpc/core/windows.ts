// How far HTTP/2 windows of incoming streams are open: small at first, ×4 per step for a connection that fills them, back to small for
// one that is idle. What a connection may make us hold is its window times its open streams; the sum over all connections that were
// grown stays within one budget, however many there are. Pure: the shell samples, and applies what `tick` says.

import { assert } from '#lib/types/assert.ts';

export interface WindowLimits {
  /** Of every stream of a connection that has not proven to need more. */
  readonly openingBytes: number;
  readonly maxBytes: number;
  /** Of all connections that were grown, together. */
  readonly budgetBytes: number;
  /** So many ticks without a byte make a window small again. */
  readonly idleTicks: number;
}

export interface WindowSample {
  /** All bytes that ever came in on this connection. */
  readonly receivedBytes: number;
  readonly streams: number;
}

export interface WindowChange<Key> {
  readonly key: Key;
  readonly windowBytes: number;
}

interface Connection {
  windowBytes: number;
  chargedBytes: number;
  receivedBytes: number;
  idleTicks: number;
}

export class Windows<Key> {
  readonly #limits: WindowLimits;
  readonly #connections = new Map<Key, Connection>();
  #chargedBytes = 0;

  constructor(limits: WindowLimits) {
    assert(limits.openingBytes <= limits.maxBytes, 'a window opens no wider than it may grow');
    this.#limits = limits;
  }

  /** What the grown connections may make us hold now. */
  get chargedBytes(): number {
    return this.#chargedBytes;
  }

  add(key: Key): void {
    assert(!this.#connections.has(key), 'a connection is added once');
    this.#connections.set(key, { windowBytes: this.#limits.openingBytes, chargedBytes: 0, receivedBytes: 0, idleTicks: 0 });
  }

  remove(key: Key): void {
    const connection = this.#connections.get(key);
    if (!connection) return;
    this.#chargedBytes -= connection.chargedBytes;
    this.#connections.delete(key);
    assert(this.#chargedBytes >= 0, 'no more is given back than was charged');
  }

  windowBytes(key: Key): number {
    return this.#connections.get(key)?.windowBytes ?? this.#limits.openingBytes;
  }

  /** One sample of each connection with open streams, or that was grown; answers which windows change. */
  tick(samples: Iterable<readonly [Key, WindowSample]>): WindowChange<Key>[] {
    const changes: WindowChange<Key>[] = [];
    for (const [key, sample] of samples) {
      const connection = this.#connections.get(key);
      if (!connection) continue;
      const arrived = sample.receivedBytes - connection.receivedBytes;
      connection.receivedBytes = sample.receivedBytes;
      connection.idleTicks = arrived === 0 ? connection.idleTicks + 1 : 0;
      const wanted = this.#wanted(connection, arrived);
      const windowBytes = this.#affordable(connection, wanted, sample.streams);
      if (windowBytes !== connection.windowBytes) changes.push({ key, windowBytes });
      this.#charge(connection, windowBytes, sample.streams);
    }
    return changes;
  }

  /** A window that a tenth of a second of traffic half fills is one that the sender waits for. */
  #wanted(connection: Connection, arrived: number): number {
    if (connection.idleTicks >= this.#limits.idleTicks) return this.#limits.openingBytes;
    if (arrived * 2 < connection.windowBytes) return connection.windowBytes;
    return Math.min(connection.windowBytes * 4, this.#limits.maxBytes);
  }

  #affordable(connection: Connection, wanted: number, streams: number): number {
    const free = this.#limits.budgetBytes - (this.#chargedBytes - connection.chargedBytes);
    let windowBytes = wanted;
    while (windowBytes > this.#limits.openingBytes && windowBytes * Math.max(1, streams) > free)
      windowBytes = Math.max(this.#limits.openingBytes, Math.floor(windowBytes / 4));
    return windowBytes;
  }

  #charge(connection: Connection, windowBytes: number, streams: number): void {
    const chargedBytes = windowBytes > this.#limits.openingBytes ? windowBytes * Math.max(1, streams) : 0;
    this.#chargedBytes += chargedBytes - connection.chargedBytes;
    connection.chargedBytes = chargedBytes;
    connection.windowBytes = windowBytes;
    assert(this.#chargedBytes <= this.#limits.budgetBytes, 'windows stay within their budget');
  }
}
