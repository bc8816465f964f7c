// `sluice produce TOPIC`: publishes lines. Memory is bounded by the client's producer, whose push-back stops the reading. With --acks-file
// a record of what is acknowledged grows in the order of the lines; what stands in it is stored, whatever happens afterwards.

import { closeSync, openSync, writeSync } from 'node:fs';
import { connect, type OutgoingMessage, type Producer } from '#clients/typescript/index.ts';
import { fail, SluiceError } from '#lib/types/errors.ts';
import { MESSAGE_BYTES_MAX } from '#lib/types/limits.ts';
import { wrongValue } from '../arguments.ts';
import type { Invocation, Verb } from '../command.ts';
import { AckRecord } from '../core/acks.ts';
import { type KeyFrom, parseKeyFrom } from '../core/keys.ts';
import { LineSplitter } from '../core/lines.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import { readChunks } from '../input.ts';
import type { PRODUCE } from '../options.ts';
import { rateLine } from '../terminal.ts';

const TIMEOUT_MS = 120_000;

export const produce: Verb<typeof PRODUCE> = async invocation => {
  const { values, positionals, servers, terminal } = invocation;
  const keyOf = values.keyFrom === undefined ? undefined : keyRule(values.keyFrom);
  const acks = values.acksFile === undefined ? undefined : new AcksFile(values.acksFile);
  const client = connect({ servers, clientName: 'sluice-cli' });
  try {
    const name = values.name === undefined ? {} : { name: values.name };
    const sendTimeoutMs = values.timeout ?? TIMEOUT_MS;
    const producer = await client.producer({ topic: positionals[0] ?? '', ...name, sendTimeoutMs });
    terminal.watchSignals();
    return await new LineProducer(producer, keyOf, values.partition, acks).run(invocation);
  } finally {
    await client.close();
    acks?.close();
  }
};

function keyRule(text: string): KeyFrom {
  const result = parseKeyFrom(text);
  if (result.kind === 'wrong') throw wrongValue('--key-from', text, result.allowed);
  return result.of;
}

class LineProducer {
  readonly #producer: Producer;
  readonly #keyOf: KeyFrom | undefined;
  readonly #partition: number | undefined;
  readonly #acks: AcksFile | undefined;
  readonly #splitter = new LineSplitter({ lineBytesMax: MESSAGE_BYTES_MAX });
  #bytes = 0;
  /** The first line that was refused; nothing is sent after it is known. */
  #failure: SluiceError | undefined;

  constructor(producer: Producer, keyOf: KeyFrom | undefined, partition: number | undefined, acks: AcksFile | undefined) {
    this.#producer = producer;
    this.#keyOf = keyOf;
    this.#partition = partition;
    this.#acks = acks;
  }

  async run({ values, json, terminal }: Invocation<typeof PRODUCE>): Promise<ExitCode> {
    const started = performance.now();
    const lines = () => this.#producer.stats.messagesStored;
    const endProgress = terminal.progress(elapsed => rateLine('lines acknowledged', lines(), this.#bytes, elapsed));
    try {
      await this.#sendAll(values.file, terminal.interrupted);
      // Also after a refusal: the lines before it are to be stored.
      await this.#producer.flush();
    } finally {
      endProgress();
      this.#acks?.write();
    }
    if (this.#failure) throw this.#failure;
    const seconds = (performance.now() - started) / 1_000;
    const result = { lines: lines(), bytes: this.#bytes, seconds, linesPerSecond: lines() / seconds };
    if (json) terminal.printJson(result);
    else if (process.stderr.isTTY) terminal.note(rateLine('lines published', result.lines, this.#bytes, seconds * 1_000));
    return terminal.interrupted.aborted ? terminal.exitCode() : EXIT.ok;
  }

  async #sendAll(file: string | undefined, interrupted: AbortSignal): Promise<void> {
    for await (const chunk of readChunks(file, interrupted)) {
      this.#splitter.push(chunk);
      for (let line = this.#splitter.next(); line !== undefined; line = this.#splitter.next()) {
        const message = line === 'too long' ? this.#tooLong() : this.#messageOf(line);
        while (message && !this.#failure && !this.#offer(message)) await this.#producer.ready();
        if (this.#failure || interrupted.aborted) return;
      }
      if (this.#producer.stats.messagesFailed > 0) return;
    }
    const last = interrupted.aborted ? undefined : this.#splitter.end();
    if (!last) return;
    const message = this.#messageOf(last);
    while (!this.#failure && !this.#offer(message)) await this.#producer.ready();
  }

  #messageOf(payload: Buffer): OutgoingMessage {
    this.#bytes += payload.length;
    const key = this.#keyOf?.(payload);
    if (key === undefined) return this.#partition === undefined ? { payload } : { payload, partition: this.#partition };
    return this.#partition === undefined ? { payload, key } : { payload, key, partition: this.#partition };
  }

  /** Only a record of acknowledgements needs to hear of each line; what fails unheard is told by `flush`. */
  #offer(message: OutgoingMessage): boolean {
    const line = this.#splitter.count;
    const acks = this.#acks;
    try {
      if (!acks) return this.#producer.offer(message);
      return this.#producer.offer(message, result => {
        if (result instanceof SluiceError) this.#failure ??= atLine(line, result);
        else acks.acknowledged(line, result.partition, result.offset);
      });
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      this.#failure ??= atLine(line, error);
      return true;
    }
  }

  #tooLong(): undefined {
    const line = this.#splitter.count + 1;
    this.#failure ??= atLine(
      line,
      new SluiceError(fail('message_too_large', 'it is longer than 5 MiB; the lines before it are published')),
    );
  }
}

function atLine(line: number, { code, message, stored, detail, retryAfterMs }: SluiceError): SluiceError {
  return new SluiceError({ kind: 'failure', code, message: `line ${line}: ${message}`, stored, detail, retryAfterMs });
}

/** Written once a turn of the loop, in whole lines; what is in it survives the end of this process. */
class AcksFile {
  readonly #file: number;
  readonly #record = new AckRecord();
  #scheduled = false;

  constructor(path: string) {
    this.#file = openSync(path, 'w');
  }

  acknowledged(line: number, partition: number, offset: number): void {
    this.#record.acknowledged(line, partition, offset);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.write());
  }

  write(): void {
    this.#scheduled = false;
    const bytes = Buffer.from(this.#record.take());
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at);
  }

  close(): void {
    closeSync(this.#file);
  }
}
