// The Logger port over pino. `json`: one object a line, for collectors. `pretty`: a line for people. Lines are written at once, so that
// the last one before the end of the process is there. Text from outside cannot forge a line: control characters are escaped.

import { destination, type Level, type Logger as Pino, pino, stdSerializers } from 'pino';
import type { Logger } from '#lib/runtime/ports.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
type Fields = Readonly<Record<string, unknown>>;

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: 'pretty' | 'json';
  /** Where lines go; standard error by default. */
  readonly write?: (line: string) => void;
  /** Of `pretty`; by default when standard error is a terminal. */
  readonly colour?: boolean;
}

export function createLogger(options: LoggerOptions): Logger {
  const write = options.write ?? standardError();
  const colour = options.colour ?? (options.write === undefined && process.stderr.isTTY && process.env['NO_COLOR'] === undefined);
  const sink = options.format === 'json' ? write : (line: string) => write(prettyLine(line, colour));
  const root = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'message',
      formatters: { level: label => ({ level: label }) },
      serializers: { error: stdSerializers.err },
    },
    { write: sink },
  );
  return new PinoLogger(root);
}

/** Written synchronously; a terminal that went away is no reason to stop serving. */
function standardError(): (line: string) => void {
  const stream = destination({ dest: 2, sync: true });
  stream.on('error', () => undefined);
  return line => {
    stream.write(line);
  };
}

class PinoLogger implements Logger {
  readonly #pino: Pino;

  constructor(logger: Pino) {
    this.#pino = logger;
  }

  debug(message: string, fields?: Fields): void {
    this.#write('debug', message, fields);
  }
  info(message: string, fields?: Fields): void {
    this.#write('info', message, fields);
  }
  warn(message: string, fields?: Fields): void {
    this.#write('warn', message, fields);
  }
  error(message: string, fields?: Fields): void {
    this.#write('error', message, fields);
  }
  child(fields: Fields): Logger {
    return new PinoLogger(this.#pino.child(fields));
  }

  #write(level: Level, message: string, fields: Fields | undefined): void {
    if (fields) this.#pino[level](fields, message);
    else this.#pino[level](message);
  }
}

const COLOURS: Readonly<Record<string, string>> = { debug: '\x1b[2m', info: '\x1b[32m', warn: '\x1b[33m', error: '\x1b[31m' };

/** `18:04:05.123 INFO  message key=value`, and an error's stack below it. */
function prettyLine(json: string, colour: boolean): string {
  const { level, time, message, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const name = String(level);
  const clock = new Date(Number(time)).toISOString().slice(11, 23);
  const label = name.toUpperCase().padEnd(5);
  let line = `${clock} ${colour ? `${COLOURS[name] ?? ''}${label}\x1b[0m` : label} ${printable(String(message))}`;
  let stack = '';
  for (const [key, value] of Object.entries(fields)) {
    const error = key === 'error' && typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
    if (error) {
      line += ` error=${quoted(String(error['message']))}`;
      if (name === 'error' && typeof error['stack'] === 'string') stack = error['stack'].split('\n').slice(1).map(printable).join('\n');
    } else line += ` ${key}=${typeof value === 'string' ? quoted(value) : JSON.stringify(value)}`;
  }
  return stack === '' ? `${line}\n` : `${line}\n${stack}\n`;
}

const quoted = (text: string) => (/^[\w./:@+-]+$/.test(text) ? text : JSON.stringify(text));
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not reach the terminal
const printable = (text: string) => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, found => JSON.stringify(found).slice(1, -1));
