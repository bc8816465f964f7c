// A client: one connection to wherever it is at home and one to each server that it is sent to, shared by all that it makes. It connects
// when it is first used, and closing it closes everything that it made, producers flushed.

import { SluiceError } from '#lib/types/errors.ts';
import { KIB, MIB } from '#lib/types/limits.ts';
import type { HelloFrame } from '#lib/wire/frames.ts';
import { Admin } from './admin.ts';
import { Calls } from './calls.ts';
import { Channels } from './channels.ts';
import { Consumer, type ConsumerHost } from './consumer.ts';
import { MemoryBudget } from './core/memory-budget.ts';
import { clientClosed } from './link.ts';
import { lookUp } from './lookup.ts';
import { type ConnectSettings, checkedName, connectSettings, invalid, laneOptions, positionOf, topicName, within } from './options.ts';
import { Producer, type ProducerHost } from './producer.ts';
import { PublishStream } from './publish-stream.ts';
import { noPartition, Reader } from './reader.ts';
import { SubscribeStream } from './subscribe-stream.ts';
import type { ConnectOptions, ConsumerOptions, ProducerOptions, ReaderOptions } from './types.ts';
import { type ClientWorld, nodeWorld } from './world.ts';

/** Of the contract that this client speaks. */
const PROTOCOL_VERSION = 1;

/** Connects when it is first used. Throws `SluiceError` for options that cannot be. */
export function connect(options: ConnectOptions = {}): SluiceClient {
  return new SluiceClient(connectSettings(options), nodeWorld);
}

export class SluiceClient {
  readonly admin: Admin;
  readonly #world: ClientWorld;
  readonly #settings: ConnectSettings;
  readonly #channels: Channels;
  readonly #calls: Calls;
  readonly #hello: HelloFrame;
  readonly #memory: MemoryBudget;
  readonly #publishStreams = new Map<string | null, PublishStream>();
  readonly #subscribeStreams = new Map<string | null, SubscribeStream>();
  readonly #producers = new Set<Producer>();
  readonly #consumers = new Set<Consumer>();
  readonly #readers = new Set<Reader>();
  #closing: Promise<void> | null = null;

  constructor(settings: ConnectSettings, world: ClientWorld) {
    this.#world = world;
    this.#settings = settings;
    this.#channels = new Channels(world, settings.servers, settings.requestTimeoutMs);
    this.#calls = new Calls(this.#channels);
    this.#hello = { protocolVersion: PROTOCOL_VERSION, features: [], client: settings.client, token: '' };
    this.#memory = new MemoryBudget(settings.memoryBytesMax);
    this.admin = new Admin(this.#calls, world);
  }

  /** Resolves when it is open. Creates the topic where its namespace allows that. */
  async producer(options: ProducerOptions): Promise<Producer> {
    this.#assertOpen();
    const topic = topicName(options.topic);
    const name = options.name === undefined ? undefined : checkedName('name', options.name);
    const lane = laneOptions(options);
    const memoryBytesMax = within('memoryBytesMax', options.memoryBytesMax, 64 * MIB, KIB, Number.MAX_SAFE_INTEGER);
    const places = await lookUp(this.#calls, topic, true);
    this.#assertOpen();
    const host: ProducerHost = {
      world: this.#world,
      memory: this.#memory,
      publishStream: address => this.#publishStream(address),
      onOpening: producer => this.#producers.add(producer),
      onClosed: producer => {
        this.#producers.delete(producer);
        this.#memory.forget(producer);
      },
    };
    return Producer.open(host, {
      places,
      name: name ?? `producer-${this.#world.randomHex(8)}`,
      instance: this.#world.randomHex(8),
      ephemeral: name === undefined,
      lane,
      memoryBytesMax,
      openTimeoutMs: this.#settings.requestTimeoutMs,
    });
  }

  /** Resolves when every partition is attached. Creates the subscription unless told not to, and never a topic. */
  async consumer(options: ConsumerOptions): Promise<Consumer> {
    this.#assertOpen();
    const topics = typeof options.topic === 'string' ? [options.topic] : options.topic;
    if (topics.length === 0) throw invalid('topic', 'names no topic');
    const names = [...new Set(topics.map(topicName))];
    const identity = {
      subscription: checkedName('subscription', options.subscription),
      consumer: options.name === undefined ? `consumer-${this.#world.randomHex(8)}` : checkedName('name', options.name),
      instance: this.#world.randomHex(8),
      start: positionOf(options.start ?? 'latest'),
      mustExist: options.mustExist ?? false,
    };
    const setup = {
      identity,
      creditMessages: within('creditMessages', options.creditMessages, 1_000_000, 1, 2 ** 32 - 1),
      creditBytes: within('creditBytes', options.creditBytes, 16 * MIB, 1, Number.MAX_SAFE_INTEGER),
      waitForAccess: options.waitForAccess ?? true,
      onWaiting: options.onWaiting,
    };
    const places = await Promise.all(names.map(name => lookUp(this.#calls, name, false)));
    this.#assertOpen();
    const host: ConsumerHost = {
      world: this.#world,
      requestTimeoutMs: this.#settings.requestTimeoutMs,
      subscribeStream: address => this.#subscribeStream(address),
      onOpening: consumer => this.#consumers.add(consumer),
      onClosed: consumer => this.#consumers.delete(consumer),
    };
    return Consumer.open(host, { ...setup, places });
  }

  /** Reads without a cursor. */
  async reader(options: ReaderOptions): Promise<Reader> {
    this.#assertOpen();
    const topic = topicName(options.topic);
    const start = positionOf(options.start ?? 'earliest');
    const bufferBytes = within('bufferBytes', options.bufferBytes, 16 * MIB, 1, Number.MAX_SAFE_INTEGER);
    const places = await lookUp(this.#calls, topic, false);
    this.#assertOpen();
    const count = places.addresses.length;
    const { partition } = options;
    if (partition !== undefined && !(Number.isInteger(partition) && partition >= 0 && partition < count))
      throw noPartition(partition, count);
    const partitions = partition === undefined ? Array.from({ length: count }, (_, index) => index) : [partition];
    const follow = options.follow ?? options.until === undefined;
    const reader = new Reader(this.#channels, { places, partitions, start, follow, bufferBytes }, closed => this.#readers.delete(closed));
    this.#readers.add(reader);
    return reader;
  }

  /** Flushes producers, sends what was acknowledged, closes everything. Rejects with the first failure of a flush, after all is closed. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const reader of [...this.#readers]) await reader.close();
    const results = await Promise.allSettled([
      ...[...this.#producers].map(producer => producer.close()),
      ...[...this.#consumers].map(consumer => consumer.close()),
    ]);
    const streams = [...this.#publishStreams.values(), ...this.#subscribeStreams.values()];
    await Promise.all(streams.map(stream => stream.close()));
    this.#channels.close();
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  #assertOpen(): void {
    if (this.#closing) throw new SluiceError(clientClosed());
  }

  #publishStream(address: string | null): PublishStream {
    let stream = this.#publishStreams.get(address);
    if (!stream) {
      stream = new PublishStream(this.#channels, address, this.#hello);
      this.#publishStreams.set(address, stream);
    }
    return stream;
  }

  #subscribeStream(address: string | null): SubscribeStream {
    let stream = this.#subscribeStreams.get(address);
    if (!stream) {
      stream = new SubscribeStream(this.#channels, address, this.#hello);
      this.#subscribeStreams.set(address, stream);
    }
    return stream;
  }
}
