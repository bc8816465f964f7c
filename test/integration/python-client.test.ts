// The contract from another language: a stub generated from proto/, Python's own gRPC, and nothing of ours. Its tools are installed once
// into .cache/python, in a folder named by what is to be installed. Without a Python on the machine there is nothing to test with.

import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Sluice, startSluice } from '../../services/standalone/start.ts';
import { ROOT } from '../support/server.ts';

const run = promisify(execFile);
const EXAMPLE = join(ROOT, 'clients/examples/python');
const CACHE = join(ROOT, '.cache/python');
const VECTORS = join(ROOT, 'test/conformance/vectors');
const INSTALL_MS = 240_000;

/** What `python3 --version` says; undefined where there is none. */
function pythonVersion(): string | undefined {
  try {
    return execFileSync('python3', ['-c', 'import sys, venv, ensurepip; print(sys.version)'], { encoding: 'utf8', stdio: 'pipe' });
  } catch {
    return undefined;
  }
}

/** The interpreter of a virtual environment with the requirements; made beside its place and renamed, so that half of one never counts. */
async function environment(version: string): Promise<string> {
  const requirements = join(EXAMPLE, 'requirements.txt');
  const key = createHash('sha256').update(version).update(readFileSync(requirements)).digest('hex').slice(0, 16);
  const ready = join(CACHE, `${key}.ready`);
  const folder = join(CACHE, key);
  const python = join(folder, 'bin/python');
  if (existsSync(ready)) return python;
  mkdirSync(CACHE, { recursive: true });
  rmSync(folder, { recursive: true, force: true });
  await run('python3', ['-m', 'venv', folder]);
  await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', requirements]);
  mkdirSync(`${ready}.new`);
  renameSync(`${ready}.new`, ready);
  return python;
}

const version = pythonVersion();

describe.skipIf(version === undefined)('a plain gRPC stub in Python', () => {
  const generated = mkdtempSync(join(tmpdir(), 'sluice-python-stub-'));
  let python = '';
  let sluice: Sluice | undefined;

  const script = (...args: string[]) =>
    run(python, args, { cwd: EXAMPLE, env: { ...process.env, PYTHONPATH: generated, PYTHONDONTWRITEBYTECODE: '1' }, timeout: 60_000 });

  beforeAll(async () => {
    python = await environment(version ?? '');
    const out = [`--python_out=${generated}`, `--grpc_python_out=${generated}`];
    const files = ['sluice/v1/messaging.proto', 'sluice/v1/storage.proto', 'sluice/v1/admin.proto'];
    await run(python, ['-m', 'grpc_tools.protoc', '-I', join(ROOT, 'proto'), ...out, ...files]);
    sluice = await startSluice();
  }, INSTALL_MS);

  afterAll(async () => {
    await sluice?.close();
    rmSync(generated, { recursive: true, force: true });
  });

  it('agrees with the published vectors', async () => {
    const { stdout } = await script('check_vectors.py', '--vectors', VECTORS);
    expect(stdout).toMatch(/frames\.json: \d+ checked/);
  }, 60_000);

  it('is refused by the server as the vectors say', async () => {
    const { stdout } = await script('check_vectors.py', '--vectors', VECTORS, '--server', sluice?.address ?? '');
    expect(stdout).toMatch(/frames-refused\.json: \d+ checked/);
  }, 60_000);

  it('publishes, consumes, acknowledges and reads', async () => {
    const { stdout } = await script('example.py', '--server', sluice?.address ?? '', '--topic', 'from-python');
    expect(stdout).toContain('all messages came out as they went in');
  }, 60_000);

  it('finds its subscription where it left it: a second run consumes what the second run publishes', async () => {
    const { stdout } = await script('example.py', '--server', sluice?.address ?? '', '--topic', 'from-python');
    expect(stdout).toContain('Subscribe: 106 messages, acknowledged durably');
    expect(stdout).toContain('Read: 212 messages');
    expect(stdout).toContain('all messages came out as they went in');
  }, 60_000);
});
