// `sluice consume TOPIC --subscription S`: messages to standard output; a message is acknowledged once its bytes have been handed to the
// system. It ends at --count, at --until-end, at a signal, or when the reader of the output goes; then what was written is acknowledged
// durably before the process ends.

import type { Consumer, ConsumerOptions, ReceivedBatch, ReceivedMessage } from '#clients/typescript/index.ts';
import { UsageError } from '../arguments.ts';
import type { Invocation, Verb } from '../command.ts';
import { withClient } from '../connection.ts';
import { type PartitionEnd, UntilEnd } from '../core/end.ts';
import { EXIT } from '../exit-codes.ts';
import type { CONSUME } from '../options.ts';
import { Output, OutputClosed } from '../output.ts';
import { parsePosition } from '../position.ts';
import { MessagePrinter, printerOf } from '../printing.ts';
import { rateLine } from '../terminal.ts';

/** How long nothing must come before the server is asked whether anything is left. */
const IDLE_MS = 250;

export const consume: Verb<typeof CONSUME> = async invocation => {
  const { values, servers, json, terminal } = invocation;
  const options = consumerOptions(invocation);
  const output = new Output();
  const printer = new MessagePrinter(printerOf(values.format, json), output);
  const bounded = values.untilEnd || values.count !== undefined;
  const endProgress = terminal.progress(elapsed => rateLine('messages', printer.count, output.written, elapsed));
  try {
    return await withClient(servers, async client => {
      const consumer = await client.consumer(options);
      terminal.watchSignals();
      const run = new Consumption(consumer, output, printer, values.count, terminal.interrupted, async () => {
        const { partitions } = await client.admin.describeSubscription(options);
        // Under the name by which its messages come: an administrator's answer has it in full.
        const topic = consumer.attachments[0]?.topic ?? options.topic;
        return partitions.map(partition => ({ ...partition, topic }));
      });
      const done = await run.run(values.untilEnd);
      return done || !bounded ? EXIT.ok : terminal.exitCode();
    });
  } finally {
    endProgress();
  }
};

function consumerOptions({ values, positionals, terminal }: Invocation<typeof CONSUME>): ConsumerOptions & { readonly topic: string } {
  if (values.subscription === undefined) {
    throw new UsageError("--subscription is missing: it names the durable cursor; 'sluice read' needs none");
  }
  return {
    topic: positionals[0] ?? '',
    subscription: values.subscription,
    start: parsePosition('--from', values.from ?? 'latest', Date.now()),
    mustExist: values.mustExist,
    waitForAccess: values.wait ?? true,
    ...(values.name === undefined ? {} : { name: values.name }),
    onWaiting: ({ name, address, since }) =>
      terminal.note(`sluice: waiting: the subscription is held by ${name} at ${address} since ${since}`),
  };
}

/** What has been printed and not yet been acknowledged: when so many bytes of output are written, `last` and all before it may be. */
interface Printed {
  readonly bytes: number;
  readonly last: ReceivedBatch | ReceivedMessage;
}

class Consumption {
  readonly #consumer: Consumer;
  readonly #output: Output;
  readonly #printer: MessagePrinter;
  readonly #countMax: number;
  readonly #interrupted: AbortSignal;
  readonly #ask: () => Promise<readonly PartitionEnd[]>;
  /** Bounded by the output, which holds no more than its limit. */
  readonly #printed: Printed[] = [];
  /** By partition, what has been acknowledged in passing, to be acknowledged durably when the run pauses or ends. */
  readonly #passing = new Map<string, ReceivedBatch | ReceivedMessage>();

  constructor(
    consumer: Consumer,
    output: Output,
    printer: MessagePrinter,
    countMax: number | undefined,
    interrupted: AbortSignal,
    ask: () => Promise<readonly PartitionEnd[]>,
  ) {
    this.#consumer = consumer;
    this.#output = output;
    this.#printer = printer;
    this.#countMax = countMax ?? Number.POSITIVE_INFINITY;
    this.#interrupted = interrupted;
    this.#ask = ask;
    output.onWritten = () => this.#acknowledgeWritten();
  }

  /** False: interrupted before its end. What was written is acknowledged in any case. */
  async run(untilEnd: boolean): Promise<boolean> {
    try {
      const done = await this.#printAll(untilEnd ? new UntilEnd(this.#consumer.attachments) : undefined);
      await this.#output.flush();
      return done;
    } catch (error) {
      if (error instanceof OutputClosed) return true;
      throw error;
    } finally {
      await this.#acknowledgeDurably();
      await this.#consumer.close();
    }
  }

  async #printAll(end: UntilEnd | undefined): Promise<boolean> {
    const batches = this.#consumer.batches();
    const pause = new Pause(this.#interrupted);
    let next = batches.next();
    while (!end?.done && this.#printer.count < this.#countMax) {
      const result = await pause.orFirst(next, end ? IDLE_MS : null);
      if (result === 'interrupted') return false;
      if (result === 'idle') {
        if (end) await this.#observe(end);
        continue;
      }
      if (result.done) return true;
      this.#print(result.value, end);
      this.#output.kick();
      if (this.#output.isFull()) await this.#output.room();
      next = batches.next();
    }
    // The batch that was asked for and is not wanted any more comes again to the next consumer.
    next.catch(() => undefined);
    return true;
  }

  #print(batch: ReceivedBatch, end: UntilEnd | undefined): void {
    let last: ReceivedBatch | ReceivedMessage = batch;
    for (const message of batch.messages()) {
      if (this.#printer.count >= this.#countMax || (end && !end.take(batch.topic, batch.partition, message.offset))) {
        if (last === batch) return;
        break;
      }
      this.#printer.print(message);
      last = message;
    }
    this.#printed.push({ bytes: this.#output.appended, last });
  }

  /** Everything that came is acknowledged first, so that the server's word is about what has not come. */
  async #observe(end: UntilEnd): Promise<void> {
    await this.#output.flush();
    await this.#acknowledgeDurably();
    end.observe(await this.#ask());
  }

  #acknowledgeWritten(): void {
    let index = 0;
    for (; index < this.#printed.length; index++) {
      const printed = this.#printed[index];
      if (!printed || printed.bytes > this.#output.written) break;
      this.#passing.set(`${printed.last.topic}:${printed.last.partition}`, printed.last);
    }
    if (index === 0) return;
    this.#printed.splice(0, index);
    for (const last of this.#passing.values()) this.#consumer.acknowledgeCumulative(last);
  }

  async #acknowledgeDurably(): Promise<void> {
    const passing = [...this.#passing.values()];
    this.#passing.clear();
    await Promise.all(passing.map(last => this.#consumer.acknowledgeDurably(last, { cumulative: true })));
  }
}

/** Waits for a promise, for a while, or until the command is interrupted. */
class Pause {
  readonly #interrupted: AbortSignal;

  constructor(interrupted: AbortSignal) {
    this.#interrupted = interrupted;
  }

  orFirst<T>(promise: Promise<T>, idleMs: number | null): Promise<T | 'idle' | 'interrupted'> {
    return new Promise((resolve, reject) => {
      const settle = (result: T | 'idle' | 'interrupted') => {
        clearTimeout(timer);
        this.#interrupted.removeEventListener('abort', interrupt);
        resolve(result);
      };
      const interrupt = () => settle('interrupted');
      const timer = idleMs === null ? undefined : setTimeout(() => settle('idle'), idleMs);
      if (this.#interrupted.aborted) interrupt();
      else this.#interrupted.addEventListener('abort', interrupt);
      promise.then(settle, reject);
    });
  }
}
