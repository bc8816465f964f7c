// `sluice version`.

import { VERSION } from '#lib/types/version.ts';
import type { Verb } from '../command.ts';
import { EXIT } from '../exit-codes.ts';
import type { NONE } from '../options.ts';

export const version: Verb<typeof NONE> = async ({ terminal, json }) => {
  if (json) terminal.printJson({ version: VERSION, node: process.versions.node });
  else terminal.print(`sluice ${VERSION} (Node ${process.versions.node})`);
  return EXIT.ok;
};
