// `sluice bench produce` and `sluice bench latency`: publishing as a program does it. Without --unbatched messages are offered as fast as
// the client takes them; with it, so many callers await each send before the next; latency is one caller.

import type { Producer, SluiceClient } from '#clients/typescript/index.ts';
import { SluiceError } from '#lib/types/errors.ts';
import { KIB, MIB } from '#lib/types/limits.ts';
import type { Verb } from '../command.ts';
import { withClient } from '../connection.ts';
import { EXIT } from '../exit-codes.ts';
import type { BENCH_LATENCY, BENCH_PRODUCE } from '../options.ts';
import { rateLine } from '../terminal.ts';
import { Measurement, reportBench } from './bench.ts';

const TOPIC = 'bench';
const SIZE = 100;
/** The latency of each 16th message is taken: a clock reading for every one would be what is measured. */
const SAMPLE_EVERY = 16;
/** Payload bytes offered before the event loop turns, as a program that reads its input does. */
const TURN_BYTES = 256 * 1024;
const WINDOW_MAX = 64;

export const benchProduce: Verb<typeof BENCH_PRODUCE> = async invocation => {
  const { values, servers, terminal } = invocation;
  const { size = SIZE, messages = 1_000_000, inFlight = 1_000, topic = TOPIC, unbatched } = values;
  return withClient(servers, async client => {
    const producer = await warmProducer(client, topic, unbatched ? undefined : Math.min(inFlight, WINDOW_MAX));
    terminal.watchSignals();
    const measurement = new Measurement(invocation);
    const endProgress = terminal.progress(elapsed => rateLine('messages', measurement.messages, measurement.bytes, elapsed));
    const payload = payloadOf(size);
    try {
      await measurement.start();
      if (unbatched) await sendAwaited(producer, payload, messages, inFlight, measurement, terminal.interrupted);
      else await offerAll(producer, payload, messages, measurement, terminal.interrupted);
    } finally {
      endProgress();
    }
    reportBench(invocation, await measurement.finish(), 'publish to acknowledgement');
    return terminal.interrupted.aborted ? terminal.exitCode() : EXIT.ok;
  });
};

export const benchLatency: Verb<typeof BENCH_LATENCY> = async invocation => {
  const { values, servers, terminal } = invocation;
  const { size = SIZE, messages = 2_000, topic = TOPIC } = values;
  return withClient(servers, async client => {
    const producer = await warmProducer(client, topic, undefined);
    terminal.watchSignals();
    const payload = payloadOf(size);
    // The first sends also measure how the code is compiled.
    await sendAwaited(producer, payload, Math.min(200, messages), 1, new Measurement(invocation), terminal.interrupted);
    const measurement = new Measurement(invocation);
    await measurement.start();
    await sendAwaited(producer, payload, messages, 1, measurement, terminal.interrupted);
    reportBench(invocation, await measurement.finish(), 'publish to acknowledgement');
    return terminal.interrupted.aborted ? terminal.exitCode() : EXIT.ok;
  });
};

/** Open, with the topic there and one message through. */
async function warmProducer(client: SluiceClient, topic: string, window: number | undefined): Promise<Producer> {
  // What waits here beyond what can be under way adds latency and no rate.
  const limits = window === undefined ? {} : { window, memoryBytesMax: Math.max(4 * MIB, 2 * window * 128 * KIB) };
  const producer = await client.producer({ topic, ...limits });
  await producer.send('warm');
  return producer;
}

/** Not all the same byte, and the same in every run. */
const payloadOf = (size: number): Buffer => Buffer.from(Array.from({ length: size }, (_, index) => 32 + ((index * 37) % 95)));

async function offerAll(
  producer: Producer,
  payload: Buffer,
  messages: number,
  measurement: Measurement,
  interrupted: AbortSignal,
): Promise<void> {
  const before = producer.stats.messagesStored;
  const turn = Math.max(64, Math.floor(TURN_BYTES / Math.max(1, payload.length)));
  for (let sent = 0; sent < messages && !interrupted.aborted && producer.stats.messagesFailed === 0; ) {
    const end = Math.min(messages, sent + turn);
    while (sent < end && producer.offer(payload, sent % SAMPLE_EVERY === 0 ? timed(measurement) : undefined)) sent++;
    if (sent < end) await producer.ready();
    else await new Promise<void>(resolve => setImmediate(resolve));
    measurement.count(producer.stats.messagesStored - before, payload.length);
  }
  await producer.flush();
  measurement.count(producer.stats.messagesStored - before, payload.length);
}

function timed(measurement: Measurement): (result: unknown) => void {
  const started = performance.now();
  return result => {
    if (!(result instanceof SluiceError)) measurement.latencies.record((performance.now() - started) * 1_000);
  };
}

/** `callers` loops, each of which awaits its send before the next. */
async function sendAwaited(
  producer: Producer,
  payload: Buffer,
  messages: number,
  callers: number,
  measurement: Measurement,
  interrupted: AbortSignal,
): Promise<void> {
  let left = messages;
  const caller = async () => {
    while (left > 0 && !interrupted.aborted) {
      left--;
      const started = performance.now();
      await producer.send(payload);
      measurement.latencies.record((performance.now() - started) * 1_000);
      measurement.count(measurement.messages + 1, payload.length);
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
}
