// The command's outside: standard output and error as text, the progress line, and the signals that end a command. Bytes in bulk go
// through `output.ts`.

import { EXIT, type ExitCode } from './exit-codes.ts';

const PROGRESS_EVERY_MS = 250;
/** Work shorter than this shows no progress. */
const PROGRESS_AFTER_MS = 1_000;

export class Terminal {
  /** Aborted by the first SIGINT or SIGTERM; a command that watches it ends cleanly. */
  readonly interrupted: AbortSignal;
  readonly #controller = new AbortController();
  #signal: 'SIGINT' | 'SIGTERM' | null = null;
  #progressShown = false;

  constructor() {
    this.interrupted = this.#controller.signal;
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      // A reader that has gone (`| head`) is no failure; a full disk below a redirection is.
      if (error.code === 'EPIPE') return;
      this.note(`sluice: standard output cannot be written: ${error.message}`);
      process.exitCode = EXIT.failure;
    });
  }

  /**
   * From now on the first signal only asks to end; the second one ends the process at once. Called when there is something to finish: before
   * that, while a server cannot be reached or another consumer holds the subscription, a signal ends the process as it does any.
   */
  watchSignals(): void {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (this.#signal !== null) process.exit(this.exitCode());
        this.#signal = signal;
        this.#controller.abort();
      });
    }
  }

  /** What an interrupted command ends with. */
  exitCode(): ExitCode {
    return this.#signal === 'SIGTERM' ? EXIT.terminated : EXIT.interrupted;
  }

  print(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  printJson(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** A line of standard error: errors, hints, notes. */
  note(text: string): void {
    this.#clearProgress();
    process.stderr.write(`${text}\n`);
  }

  /** Shows `line()` four times a second while the work lasts, if a person is looking. Returns what ends it. */
  progress(line: (elapsedMs: number) => string): () => void {
    if (!process.stderr.isTTY) return () => undefined;
    const started = performance.now();
    const timer = setInterval(() => {
      const elapsed = performance.now() - started;
      if (elapsed < PROGRESS_AFTER_MS) return;
      process.stderr.write(`\r\x1b[K${line(elapsed)}`);
      this.#progressShown = true;
    }, PROGRESS_EVERY_MS);
    timer.unref();
    return () => {
      clearInterval(timer);
      this.#clearProgress();
    };
  }

  #clearProgress(): void {
    if (this.#progressShown) process.stderr.write('\r\x1b[K');
    this.#progressShown = false;
  }
}

/** Rows in columns, the header first; the last column is not padded. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map(row => (row[column] ?? '').length)));
  return all
    .map(row =>
      row
        .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export const thousands = (value: number): string => Math.round(value).toLocaleString('en-US');

export function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${thousands(bytes / 1e3)} kB` : `${thousands(bytes / 1e6)} MB`;
}

/** `12,345 lines · 1,234/s · 3 MB`. */
export function rateLine(what: string, count: number, bytes: number, elapsedMs: number): string {
  return `${thousands(count)} ${what} · ${thousands((count / Math.max(1, elapsedMs)) * 1_000)}/s · ${megabytes(bytes)}`;
}
