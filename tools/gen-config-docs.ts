// Writes the pages that are made from tables in the code: docs/config/ (a reference page and an example file for each service's schema) and
// docs/operations/cli.md. `--check` writes nothing and fails where a file is not what the code says.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { renderExample, renderReference } from '#lib/config/render.ts';
import { cliManual } from '../clients/cli/manual.ts';
import { standaloneSchema } from '../services/standalone/config.ts';

/** Everything in it is made here. */
const FOLDER = 'docs/config';

const wanted = new Map<string, string>([
  [`${FOLDER}/${standaloneSchema.service}.md`, renderReference(standaloneSchema)],
  [`${FOLDER}/${standaloneSchema.service}.example.yaml`, renderExample(standaloneSchema)],
  ['docs/operations/cli.md', cliManual()],
]);

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // Missing is one way of being out of date.
  }
}

mkdirSync(FOLDER, { recursive: true });
const stray = readdirSync(FOLDER)
  .map(name => join(FOLDER, name))
  .filter(path => !wanted.has(path));
const stale = [...wanted].filter(([path, text]) => read(path) !== text).map(([path]) => path);

if (process.argv.includes('--check')) {
  for (const path of stale) console.error(`${path} is not what the code says: run make generate`);
  for (const path of stray) console.error(`${path} belongs to no schema: remove it`);
  if (stale.length + stray.length > 0) process.exitCode = 1;
  else console.log(`generated pages: ${wanted.size} up to date`);
} else {
  for (const path of stale) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, wanted.get(path) ?? '');
  }
  for (const path of stray) rmSync(path);
  console.log(`generated pages: ${stale.length} written, ${stray.length} removed, ${wanted.size - stale.length} up to date`);
}
