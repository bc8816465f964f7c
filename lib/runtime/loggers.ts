// Loggers for tests and for parts that run without one: the first forgets every line, the second keeps them.

import type { Logger } from './ports.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export function nullLogger(): Logger {
  const logger: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => logger };
  return logger;
}

/** Keeps every line, those of its children too, in `lines`. */
export function memoryLogger(): Logger & { readonly lines: readonly LogLine[] } {
  const lines: LogLine[] = [];
  return { ...loggerInto(lines, {}), lines };
}

function loggerInto(lines: LogLine[], bound: Readonly<Record<string, unknown>>): Logger {
  const add = (level: LogLine['level']) => (message: string, fields?: Readonly<Record<string, unknown>>) => {
    lines.push({ level, message, fields: { ...bound, ...fields } });
  };
  return {
    debug: add('debug'),
    info: add('info'),
    warn: add('warn'),
    error: add('error'),
    child: fields => loggerInto(lines, { ...bound, ...fields }),
  };
}
