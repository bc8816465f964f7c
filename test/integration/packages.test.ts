// `make pack`, then both packages in an empty project, and there the lines that README.md tells a new user to write.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort, ROOT, ServerProcess, temporaryFolder } from '../support/server.ts';

const folder = temporaryFolder('sluice-packages-');
const project = join(folder.path, 'project');
afterAll(() => folder.remove());

const run = (command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  execFileSync(command, args, { cwd: project, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });

/** The code block behind `<!-- example: NAME -->` in README.md. */
function example(name: string): string {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const found = new RegExp(`<!-- example: ${name} -->\\n\`\`\`ts\\n([\\s\\S]*?)\`\`\``).exec(text)?.[1];
  if (!found) throw new Error(`README.md has no example ${name}`);
  return found;
}

beforeAll(() => {
  execFileSync(process.execPath, ['tools/pack.ts', '--to', folder.path], { cwd: ROOT, stdio: 'pipe' });
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'project', private: true, type: 'module' }));
  const tarballs = readdirSync(folder.path).filter(name => name.endsWith('.tgz'));
  expect(tarballs.length).toBe(2);
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', ...tarballs.map(name => join('..', name))]);
}, 180_000);

test('README: TypeScript publishes and consumes with the client package', { timeout: 60_000 }, async () => {
  const server = await ServerProcess.start({ dataDir: join(folder.path, 'data') });
  try {
    writeFileSync(join(project, 'orders.mjs'), example('typescript').replace('127.0.0.1:7650', server.address));
    expect(run(process.execPath, ['orders.mjs'])).toBe('stored as orders:0@1\none coffee\n');
  } finally {
    await server.kill();
  }
});

test('README: startSluice runs a server in the process of a test', { timeout: 60_000 }, () => {
  writeFileSync(join(project, 'start.mjs'), example('startSluice'));
  expect(run(process.execPath, ['start.mjs'])).toMatch(/^127\.0\.0\.1:\d+\n$/);
});

test('the types of both packages compile in a strict project', { timeout: 60_000 }, () => {
  writeFileSync(
    join(project, 'use.ts'),
    `${example('typescript')}\nimport { startSluice } from 'sluice';\nexport const started = startSluice();\n`,
  );
  const flags = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023,esnext.disposable',
    '--types',
    'node',
  ];
  run(join(ROOT, 'node_modules/.bin/tsc'), [...flags, '--typeRoots', join(ROOT, 'node_modules/@types'), 'use.ts']);
});

test('the installed command runs the server and the verbs', { timeout: 60_000 }, async () => {
  const sluice = join(project, 'node_modules/.bin/sluice');
  expect(run(sluice, ['version'], { SLUICE_NODE: process.execPath })).toMatch(/\d+\.\d+\.\d+/);
  const [port, http] = [await freePort(), await freePort()];
  const server = await ServerProcess.start({ dataDir: join(folder.path, 'other'), port, httpPort: http, command: sluice });
  try {
    execFileSync(sluice, ['produce', 'greetings', '--server', server.address], { cwd: project, input: 'hello\n' });
    const args = ['consume', 'greetings', '--subscription', 'mine', '--from', 'earliest', '--count', '1', '--server', server.address];
    expect(run(sluice, args)).toBe('hello\n');
  } finally {
    await server.kill();
  }
});
