// `sluice bench consume`: how fast a backlog is consumed, by batches, as a program that keeps up must do it.

import { randomBytes } from 'node:crypto';
import type { Consumer } from '#clients/typescript/index.ts';
import type { Verb } from '../command.ts';
import { withClient } from '../connection.ts';
import { EXIT } from '../exit-codes.ts';
import type { BENCH_CONSUME } from '../options.ts';
import { rateLine } from '../terminal.ts';
import { Measurement, reportBench } from './bench.ts';

export const benchConsume: Verb<typeof BENCH_CONSUME> = async invocation => {
  const { values, servers, terminal } = invocation;
  const { topic = 'bench' } = values;
  const subscription = values.subscription ?? `bench-${randomBytes(6).toString('hex')}`;
  return withClient(servers, async client => {
    const measurement = new Measurement(invocation);
    await measurement.start();
    const consumer = await client.consumer({ topic, subscription, start: 'earliest', waitForAccess: false });
    terminal.watchSignals();
    const backlog = consumer.attachments.reduce((sum, attachment) => sum + attachment.backlog, 0);
    const endProgress = terminal.progress(elapsed => rateLine('messages', measurement.messages, measurement.bytes, elapsed));
    try {
      await consumeSome(consumer, values.messages ?? backlog, measurement, terminal.interrupted);
    } finally {
      endProgress();
    }
    const result = await measurement.finish();
    await consumer.close();
    if (values.subscription === undefined) await client.admin.deleteSubscription({ topic, subscription });
    reportBench(invocation, result, 'append to receipt (of a backlog: its age)');
    return terminal.interrupted.aborted ? terminal.exitCode() : EXIT.ok;
  });
};

async function consumeSome(consumer: Consumer, messages: number, measurement: Measurement, interrupted: AbortSignal): Promise<void> {
  if (messages === 0) return;
  const stop = () => void consumer.close();
  interrupted.addEventListener('abort', stop, { once: true });
  for await (const batch of consumer.batches()) {
    // Each message is looked at, as an application would.
    for (const message of batch.messages()) measurement.bytes += message.payload?.length ?? 0;
    measurement.messages += batch.count;
    measurement.latencies.record(Math.max(0, Date.now() - batch.appendTimeMs) * 1_000);
    consumer.acknowledgeCumulative(batch);
    if (measurement.messages >= messages) break;
  }
  interrupted.removeEventListener('abort', stop);
}
