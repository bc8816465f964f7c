// A broker in this process for tests: real gRPC on a random port, real partitions and logs, bookies and index in memory. Stubs are made
// from the contract as any user would make them.

import { credentials, type Metadata, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import { MemoryStore } from '#lib/metadata/memory.ts';
import { loadContract, serviceOf } from '#lib/rpc/protobuf.ts';
import { failureOfStatus } from '#lib/rpc/status.ts';
import { nullLogger } from '#lib/runtime/loggers.ts';
import { nodeClock } from '#lib/runtime/node/clock.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import type { Logger, World } from '#lib/runtime/ports.ts';
import type { Failure } from '#lib/types/errors.ts';
import { MIB } from '#lib/types/limits.ts';
import { type Broker, type BrokerSettings, createBroker } from '../broker.ts';
import { MemoryBookies } from './memory-bookies.ts';

export const TEST_SETTINGS: BrokerSettings = {
  listen: '127.0.0.1:0',
  tailCacheBytes: 16 * MIB,
  readAheadBytes: 8 * MIB,
  intakeBytes: 64 * MIB,
  outboxBytes: 64 * MIB,
  rpc: {},
  edge: {},
  partitions: {},
  partition: {},
  log: {},
  catalog: {},
  policies: { retentionMs: -1, backlogBytesMax: -1, autoCreateTopics: true, defaultPartitions: 1, dedupWindowMs: 600_000 },
  storageLimitBytes: -1,
};

/** What outlives a broker. */
export interface TestCluster {
  readonly world: World;
  readonly bookies: MemoryBookies;
  metadata: MemoryStore;
}

export function testCluster(logger: Logger = nullLogger()): TestCluster {
  const world = createNodeWorld({
    logger,
    onFatal: (reason, error) => {
      throw new Error(`fatal: ${reason}`, { cause: error });
    },
  });
  return { world, bookies: new MemoryBookies(world.clock), metadata: new MemoryStore(world.clock) };
}

export function startBroker(cluster: TestCluster, changes: Partial<BrokerSettings> = {}): Promise<Broker> {
  return createBroker(
    cluster.world,
    { ...TEST_SETTINGS, ...changes },
    { transport: cluster.bookies, metadata: cluster.metadata, clusterId: 'test-cluster', name: 'test' },
  );
}

const contract = loadContract();
const MessagingClient = makeGenericClientConstructor(serviceOf(contract, 'sluice.v1.Messaging'), 'Messaging');
const AdminClient = makeGenericClientConstructor(serviceOf(contract, 'sluice.v1.Admin'), 'Admin');

// biome-ignore lint/suspicious/noExplicitAny: what a stub without generated types gives
export type Message = any;

/** A plain stub: unary calls as promises that reject with a `Refused`, streams as grpc-js gives them. */
export class Stub {
  readonly #messaging: Message;
  readonly #admin: Message;

  constructor(address: string, options: Record<string, number> = {}) {
    this.#messaging = new MessagingClient(address, credentials.createInsecure(), options);
    this.#admin = new AdminClient(address, credentials.createInsecure(), options);
  }

  send(request: Message): Promise<Message> {
    return unary(this.#messaging, 'Send', request);
  }
  lookup(request: Message): Promise<Message> {
    return unary(this.#messaging, 'Lookup', request);
  }
  admin(call: string, request: Message = {}): Promise<Message> {
    return unary(this.#admin, call, request);
  }
  publish(): Stream {
    return new Stream(this.#messaging.Publish());
  }
  subscribe(): Stream {
    return new Stream(this.#messaging.Subscribe());
  }
  read(request: Message): Stream {
    return new Stream(this.#messaging.Read(request));
  }
  close(): void {
    this.#messaging.close();
    this.#admin.close();
  }
}

export class Refused extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(`${failure.code}: ${failure.message}`);
    this.failure = failure;
  }
}

function unary(client: Message, call: string, request: Message): Promise<Message> {
  return new Promise((resolve, reject) =>
    client[call](request, (error: ServiceError | null, reply: Message) => (error ? reject(refused(error)) : resolve(reply))),
  );
}

function refused(error: { code: number; details: string; metadata: Metadata }): Refused {
  const failure = failureOfStatus(error);
  if (!failure) throw new Error('an error has a failure');
  return new Refused(failure);
}

/** Collects what a stream says. */
export class Stream {
  readonly call: Message;
  readonly responses: Message[] = [];
  ended = false;
  failure: Failure | null = null;

  constructor(call: Message) {
    this.call = call;
    call.on('data', (response: Message) => this.responses.push(response));
    call.on('end', () => {
      this.ended = true;
    });
    call.on('error', (error: ServiceError) => {
      this.failure = refused(error).failure;
    });
  }

  write(request: Message): void {
    this.call.write(request);
  }

  /** All of one field over all responses. */
  all(field: string): Message[] {
    return this.responses.flatMap(response => response[field] ?? []);
  }

  /** The messages of all deliveries that are meant, as text. */
  texts(): string[] {
    return this.all('deliveries').flatMap((delivery: Message) => {
      const payloads: string[] = delivery.batch.messages.map((message: Message) => message.payload.toString());
      if (delivery.ranges.length === 0) return payloads;
      return delivery.ranges.flatMap((range: Message) => payloads.slice(range.first, range.first + range.count));
    });
  }
}

const clock = nodeClock();

export async function until(what: () => boolean, withinMs = 5_000): Promise<void> {
  const end = clock.monotonic() + withinMs;
  while (!what()) {
    if (clock.monotonic() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise<void>(resolve => clock.after(2, resolve));
  }
}

/** The refusal that a call ends with. */
export async function failureOf(call: Promise<unknown>): Promise<Failure> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Refused) return error.failure;
    throw error;
  }
  throw new Error('the call was not refused');
}
