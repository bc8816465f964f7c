// Builds the two npm packages as JavaScript with types, because Node strips no types below node_modules:
//   dist/client → sluice-client-VERSION.tgz   the TypeScript SDK: grpc-js and proto-loader only, .proto files inside
//   dist/server → sluice-VERSION.tgz          the server with the command line; `startSluice` for users' tests
// Sources keep their paths below dist/ of the package. The compiler rewrites only relative imports to `.js`, so `#lib/x.ts` is made relative
// in a copy of the sources first.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';

interface Manifest {
  readonly version: string;
  readonly license: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
const STAGE = 'dist/stage';
const SOURCES = ['lib', 'services', 'clients/typescript', 'clients/cli'];

interface Package {
  readonly folder: string;
  /** What the package exports; everything that these import comes along. */
  readonly entries: readonly string[];
  readonly files: readonly (readonly [from: string, to: string])[];
  readonly json: Readonly<Record<string, unknown>>;
}

const PACKAGES: readonly Package[] = [
  {
    folder: 'client',
    entries: ['clients/typescript/index.ts', 'lib/wire/crc32c-none.ts'],
    files: [
      ['proto', 'proto'],
      ['LICENSE', 'LICENSE'],
      ['clients/typescript/README.md', 'README.md'],
    ],
    json: {
      name: 'sluice-client',
      description: 'Client of Sluice, a messaging and streaming platform',
      engines: { node: '>=20' },
      imports: { '#crc32c-native': './dist/lib/wire/crc32c-none.js' },
      exports: { '.': { types: './dist/clients/typescript/index.d.ts', default: './dist/clients/typescript/index.js' } },
      dependencies: pick(['@grpc/grpc-js', '@grpc/proto-loader']),
    },
  },
  {
    folder: 'server',
    entries: ['clients/cli/main.ts', 'services/standalone/start.ts', 'services/standalone/main.ts'],
    files: [
      ['proto', 'proto'],
      ['bin', 'bin'],
      ['LICENSE', 'LICENSE'],
      ['README.md', 'README.md'],
    ],
    json: {
      name: 'sluice',
      description: 'Messaging and streaming with computing and storage apart: the server and its command line',
      engines: { node: '>=22.22' },
      bin: { sluice: './bin/sluice' },
      imports: { '#crc32c-native': '@node-rs/crc32' },
      exports: { '.': { types: './dist/services/standalone/start.d.ts', default: './dist/services/standalone/start.js' } },
      dependencies: manifest.dependencies,
    },
  },
];

function pick(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map(name => [name, manifest.dependencies[name] ?? '']));
}

const { values } = parseArgs({ options: { to: { type: 'string', default: 'dist' } } });
const target = resolve(values.to);

/** Copies the sources, tests left out, with every `#lib` and `#clients` import made relative. */
function stage(from: string): void {
  for (const name of readdirSync(from)) {
    const path = join(from, name);
    if (statSync(path).isDirectory()) stage(path);
    else if (/(?<!\.test|\.bench)\.ts$/.test(name)) {
      const toRoot = relative(from, '.');
      const text = readFileSync(path, 'utf8').replaceAll(/(\bfrom |^import |\bimport\()'#(lib|clients)\//gm, `$1'${toRoot}/$2/`);
      mkdirSync(dirname(join(STAGE, path)), { recursive: true });
      writeFileSync(join(STAGE, path), text);
    }
  }
}

function build(pack: Package): string {
  const folder = join('dist', pack.folder);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const config = join('dist', `tsconfig.${pack.folder}.json`);
  writeFileSync(
    config,
    JSON.stringify({
      extends: '../tsconfig.json',
      compilerOptions: {
        noEmit: false,
        declaration: true,
        rewriteRelativeImportExtensions: true,
        rootDir: './stage',
        outDir: `./${pack.folder}/dist`,
      },
      include: [],
      files: pack.entries.map(entry => `./stage/${entry}`),
    }),
  );
  execFileSync('tsc', ['-p', config], { stdio: 'inherit' });
  for (const [from, to] of pack.files) cpSync(from, join(folder, to), { recursive: true });
  const json = {
    ...pack.json,
    version: manifest.version,
    license: manifest.license,
    type: 'module',
    files: ['dist', 'proto', 'bin'],
  };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(json, null, 2)}\n`);
  execFileSync('npm', ['pack', '--silent', '--pack-destination', target], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  const tarball = `${String(pack.json['name'])}-${manifest.version}.tgz`;
  return join(target, tarball);
}

rmSync(STAGE, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
for (const folder of SOURCES) stage(folder);
for (const pack of PACKAGES) console.log(build(pack));
for (const name of readdirSync('dist')) if (name.startsWith('tsconfig.')) rmSync(join('dist', name));
rmSync(STAGE, { recursive: true, force: true });
