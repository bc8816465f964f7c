// Writes docs/config/ from the services' schemas: a reference page and an example file each. `--check` writes nothing and fails where a
// file is not what the schemas say.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderExample, renderReference } from '#lib/config/render.ts';
import { standaloneSchema } from '../services/standalone/config.ts';

const FOLDER = 'docs/config';

const wanted = new Map<string, string>([
  [`${standaloneSchema.service}.md`, renderReference(standaloneSchema)],
  [`${standaloneSchema.service}.example.yaml`, renderExample(standaloneSchema)],
]);

function read(name: string): string | undefined {
  try {
    return readFileSync(join(FOLDER, name), 'utf8');
  } catch {
    return undefined; // Missing is one way of being out of date.
  }
}

mkdirSync(FOLDER, { recursive: true });
const stray = readdirSync(FOLDER).filter(name => !wanted.has(name));
const stale = [...wanted].filter(([name, text]) => read(name) !== text).map(([name]) => name);

if (process.argv.includes('--check')) {
  for (const name of stale) console.error(`${FOLDER}/${name} is not what the schema says: run make generate`);
  for (const name of stray) console.error(`${FOLDER}/${name} belongs to no schema: remove it`);
  if (stale.length + stray.length > 0) process.exitCode = 1;
  else console.log(`${FOLDER}: ${wanted.size} files up to date`);
} else {
  for (const name of stale) writeFileSync(join(FOLDER, name), wanted.get(name) ?? '');
  for (const name of stray) rmSync(join(FOLDER, name));
  console.log(`${FOLDER}: ${stale.length} written, ${stray.length} removed, ${wanted.size - stale.length} up to date`);
}
