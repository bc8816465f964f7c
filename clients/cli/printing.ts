// How messages are printed, by --format and --json; shared by consume and read.

import type { ReceivedMessage } from '#clients/typescript/index.ts';
import { UsageError, wrongValue } from './arguments.ts';
import { type Printer, parseFormat, printJson, printPayload } from './core/format.ts';
import type { Output } from './output.ts';

export function printerOf(format: string | undefined, json: boolean): Printer {
  if (format === undefined) return json ? printJson : printPayload;
  if (json) throw new UsageError('--format and --json exclude each other');
  const result = parseFormat(format);
  if (result.kind === 'wrong') throw wrongValue('--format', format, result.allowed);
  return result.print;
}

/** Prints messages and counts them. */
export class MessagePrinter {
  count = 0;
  readonly #print: Printer;
  readonly #output: Output;

  constructor(print: Printer, output: Output) {
    this.#print = print;
    this.#output = output;
  }

  print(message: ReceivedMessage): void {
    this.count++;
    this.#print(message, this.count, this.#output.append);
  }
}
