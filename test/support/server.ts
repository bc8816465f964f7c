// Runs the real server as a process of its own: the same command a user types, its own folder, free ports, and kill -9.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const SLUICE = join(ROOT, 'bin/sluice');

/** A fresh folder below the system's temporary one, and what removes it. */
export function temporaryFolder(prefix = 'sluice-test-'): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), prefix));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A port that is free now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

export interface ServerOptions {
  readonly dataDir: string;
  readonly flags?: readonly string[];
  readonly port?: number;
  readonly httpPort?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** The command to run; the checkout's `bin/sluice` unless given. */
  readonly command?: string;
}

/** One `sluice standalone`; it can be killed and started again on the same ports and folder. */
export class ServerProcess {
  readonly options: ServerOptions;
  readonly address: string;
  readonly httpAddress: string;
  #child: ChildProcess | null = null;
  #output = '';

  private constructor(options: ServerOptions, port: number, httpPort: number) {
    this.options = options;
    this.address = `127.0.0.1:${port}`;
    this.httpAddress = `127.0.0.1:${httpPort}`;
  }

  static async start(options: ServerOptions): Promise<ServerProcess> {
    const server = new ServerProcess(options, options.port ?? (await freePort()), options.httpPort ?? (await freePort()));
    await server.start();
    return server;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Everything it has printed, of all its lives. */
  get output(): string {
    return this.#output;
  }

  /** Resolves when it is ready; rejects with its output when it ends before. */
  async start(): Promise<void> {
    const flags = ['standalone', '--data-dir', this.options.dataDir, '--listen', this.address, '--http-listen', this.httpAddress];
    const child = spawn(this.options.command ?? SLUICE, [...flags, ...(this.options.flags ?? [])], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.options.env },
    });
    this.#child = child;
    const keep = (chunk: Buffer) => {
      this.#output += chunk.toString();
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(10)) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the server ended (${child.exitCode ?? child.signalCode}):\n${this.#output}`);
      if (await this.isReady()) return;
    }
    throw new Error(`the server is not ready after 20 s:\n${this.#output}`);
  }

  async isReady(): Promise<boolean> {
    try {
      return (await fetch(`http://${this.httpAddress}/readyz`)).status === 200;
    } catch {
      return false; // Nobody listens yet: that is what is being asked.
    }
  }

  /** kill −9, and waits until the process is gone. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** SIGTERM; resolves to the exit status. */
  async stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const ended = new Promise<number | null>(resolve => child.once('exit', code => resolve(code)));
    child.kill(signal);
    return ended;
  }

  /** Resident memory in bytes: now, and the most there has been in this life. */
  memory(): { resident: number; peak: number } {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    const kilobytes = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
    return { resident: kilobytes('VmRSS') * 1024, peak: kilobytes('VmHWM') * 1024 };
  }

  /** CPU seconds that it has used in this life, in user and system mode. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }
}

/** Runs `sluice ARGS` to its end. */
export function runCli(
  args: readonly string[],
  input?: Buffer | string,
): Promise<{ status: number | null; stdout: Buffer; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(SLUICE, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.once('error', reject);
    child.once('close', status => resolve({ status, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() }));
    // A command that ends early closes its input: its exit status tells, not the pipe.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input ?? '');
  });
}
