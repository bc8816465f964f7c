// The rules of the tree that neither the compiler nor the linter knows: who may import whom, no cycles, pure cores, the injected world,
// an opening comment in every file, and sizes. Prints each breach with file and line, and fails if there is one.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const ROOTS = ['lib', 'services', 'clients/typescript', 'clients/cli', 'test', 'tools'];

/** Area → areas that it may import. A type import counts as well, unless the area is listed behind `types:`. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'lib/types': [],
  'lib/runtime': ['lib/types'],
  'lib/wire': ['lib/types', 'types:lib/ledger'],
  'lib/ledger': ['lib/types', 'lib/wire', 'lib/runtime'],
  'lib/metadata': ['lib/types', 'lib/runtime', 'types:lib/ledger'],
  'lib/rpc': ['lib/types', 'lib/runtime', 'lib/wire'],
  'lib/config': ['lib/types', 'lib/runtime'],
  'lib/telemetry': ['lib/types', 'lib/runtime'],
  'services/bookie': ['lib'],
  'services/broker': ['lib'],
  'services/standalone': ['lib', 'services/bookie', 'services/broker'],
  'clients/typescript': ['lib/types', 'lib/wire', 'lib/rpc'],
  'clients/cli': ['lib/types', 'lib/config', 'clients/typescript', 'services/standalone'],
  test: ['lib', 'services', 'clients', 'tools'],
  tools: ['lib', 'services', 'clients'],
};

/** Where the real world may be touched. Everything else takes it as a parameter. */
const WORLDLY = [
  /^lib\/runtime\/node\//,
  /^lib\/telemetry\//,
  /^clients\//,
  /^test\//,
  /^tools\//,
  /^services\/[a-z]+\/main\.ts$/,
  /\.test\.ts$/,
  /\.bench\.ts$/,
];
const BANNED =
  /\b(Date\.now|new Date\(\)|performance\.|Math\.random|crypto\.random|setTimeout|setInterval|setImmediate|queueMicrotask|(?<!-)process\.)/;
/** A sitting. */
const FILE_LINES_MAX = 600;

const problems: string[] = [];
const report = (file: string, line: number, what: string) => problems.push(`${file}:${line}: ${what}`);

function* files(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (name === 'node_modules' || name === 'examples' || name === 'generated') continue;
    if (statSync(path).isDirectory()) yield* files(path);
    else if (path.endsWith('.ts')) yield path;
  }
}

const areaOf = (path: string) => Object.keys(MAY_IMPORT).find(area => path.startsWith(`${area}/`));
const covers = (allowed: string, area: string) => area === allowed || area.startsWith(`${allowed}/`);

function resolve(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('#')) return specifier.slice(1);
  if (specifier.startsWith('.')) return normalize(join(dirname(from), specifier));
  return undefined;
}

function checkImport(file: string, line: number, target: string, typeOnly: boolean): void {
  const from = areaOf(file);
  const to = areaOf(target);
  if (!from || !to || from === to) return;
  const isTest = /\.(test|bench)\.ts$/.test(file);
  const allowed = MAY_IMPORT[from] ?? [];
  const ok = allowed.some(entry => (entry.startsWith('types:') ? (typeOnly || isTest) && covers(entry.slice(6), to) : covers(entry, to)));
  if (!ok && !(isTest && to.startsWith('lib/'))) report(file, line, `${from} may not import ${to}`);
}

const graph = new Map<string, string[]>();
for (const root of ROOTS) {
  for (const file of files(root)) {
    const text = readFileSync(file, 'utf8');
    const lines = text.split('\n');
    const isTest = /\.(test|bench)\.ts$/.test(file);
    if (!/^(#!.*\n)?\/[/*]/.test(text) && !isTest) report(file, 1, 'opens without a comment that says what it is');
    if (lines.length > FILE_LINES_MAX + 1) report(file, lines.length, `is longer than ${FILE_LINES_MAX} lines`);
    const core = file.includes('/core/') && !isTest;
    const edges: string[] = [];
    const imports = /^(import|export)\s+(type\s)?[^;'"]*?from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\('([^']+)'\)/gm;
    for (const match of text.matchAll(imports)) {
      const specifier = match[3] ?? match[4] ?? match[5] ?? '';
      const line = text.slice(0, match.index).split('\n').length;
      if (core && specifier.startsWith('node:') && !['node:assert', 'node:buffer'].includes(specifier))
        report(file, line, `a core imports ${specifier}`);
      const target = resolve(file, specifier);
      if (target === undefined) continue;
      checkImport(file, line, target, match[2] !== undefined);
      if (match[2] === undefined && match[5] === undefined) edges.push(target);
    }
    graph.set(file, edges);
    if (WORLDLY.some(pattern => pattern.test(file))) continue;
    lines.forEach((text, index) => {
      const code = text.replace(/\/\/.*$/, '').replace(/^\s*\/?\*.*$/, '');
      const found = BANNED.exec(code);
      if (found) report(file, index + 1, `${found[1]} belongs to the injected world`);
      if (core && /\basync\b|\bawait\b/.test(code)) report(file, index + 1, 'a core has no async');
      if (/^(export )?let\b/.test(code)) report(file, index + 1, 'module-level let');
    });
  }
}

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
if (!readFileSync('lib/types/version.ts', 'utf8').includes(`'${version}'`))
  report('lib/types/version.ts', 1, `is not ${version}, as package.json says`);

const done = new Set<string>();
function findCycle(file: string, path: readonly string[]): void {
  const at = path.indexOf(file);
  if (at >= 0) {
    report(file, 1, `imports itself: ${[...path.slice(at), file].join(' -> ')}`);
    return;
  }
  if (done.has(file)) return;
  for (const next of graph.get(file) ?? []) findCycle(next, [...path, file]);
  done.add(file);
}
for (const file of graph.keys()) findCycle(file, []);

for (const problem of problems) console.error(problem);
console.log(problems.length === 0 ? `tidy: ${graph.size} files` : `tidy: ${problems.length} problems in ${graph.size} files`);
if (problems.length > 0) process.exitCode = 1;
