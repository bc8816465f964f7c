// `sluice read TOPIC`: messages to standard output, without a subscription.

import type { ReaderOptions, ReceivedBatch } from '#clients/typescript/index.ts';
import type { Invocation, Verb } from '../command.ts';
import { withClient } from '../connection.ts';
import { EXIT } from '../exit-codes.ts';
import type { READ } from '../options.ts';
import { Output, OutputClosed } from '../output.ts';
import { parsePosition } from '../position.ts';
import { MessagePrinter, printerOf } from '../printing.ts';
import { rateLine } from '../terminal.ts';

export const read: Verb<typeof READ> = async invocation => {
  const { values, servers, json, terminal } = invocation;
  const output = new Output();
  const printer = new MessagePrinter(printerOf(values.format, json), output);
  const options = readerOptions(invocation);
  const endProgress = terminal.progress(elapsed => rateLine('messages', printer.count, output.written, elapsed));
  const bounded = values.untilEnd || values.count !== undefined;
  try {
    return await withClient(servers, async client => {
      const reader = await client.reader(options);
      terminal.watchSignals();
      const stop = () => void reader.close();
      terminal.interrupted.addEventListener('abort', stop, { once: true });
      const done = await printAll(reader.batches(), printer, output, values.count, terminal.interrupted);
      await output.flush();
      await reader.close();
      return done || !bounded ? EXIT.ok : terminal.exitCode();
    });
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT.ok;
    throw error;
  } finally {
    endProgress();
  }
};

function readerOptions({ values, positionals }: Invocation<typeof READ>): ReaderOptions {
  return {
    topic: positionals[0] ?? '',
    start: parsePosition('--from', values.from ?? 'earliest', Date.now()),
    ...(values.partition === undefined ? {} : { partition: values.partition }),
    ...(values.untilEnd ? { until: 'end' } : { follow: true }),
  };
}

/** False: interrupted before the end. */
async function printAll(
  batches: AsyncIterable<ReceivedBatch>,
  printer: MessagePrinter,
  output: Output,
  countMax = Number.POSITIVE_INFINITY,
  interrupted: AbortSignal,
): Promise<boolean> {
  for await (const batch of batches) {
    for (const message of batch.messages()) {
      if (printer.count >= countMax || interrupted.aborted) break;
      printer.print(message);
    }
    output.kick();
    if (output.isFull()) await output.room();
    if (printer.count >= countMax) return true;
    if (interrupted.aborted) return false;
  }
  return !interrupted.aborted;
}
