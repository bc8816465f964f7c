// Loads the contract. The .proto files are found from this module's own place upwards, so that the checkout and an installed package
// (where the sources stand one folder deeper) both work.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { assert } from '#lib/types/assert.ts';

const FILES = ['sluice/v1/messaging.proto', 'sluice/v1/admin.proto'];

/** The folder `proto`, in the checkout or in the package. */
export function protoFolder(): string {
  for (const up of ['../../proto/', '../../../proto/', '../../../../proto/']) {
    const url = new URL(up, import.meta.url);
    if (existsSync(new URL(FILES[0] ?? '', url))) return fileURLToPath(url);
  }
  throw new Error('proto/sluice/v1 is missing: the installation is not whole');
}

/** Names as in the contract, 64-bit numbers as numbers, enums as numbers, absent fields with their defaults, oneofs named. */
export function loadContract(): PackageDefinition {
  return loadSync(FILES, {
    includeDirs: [protoFolder()],
    keepCase: true,
    longs: Number,
    enums: Number,
    defaults: true,
    oneofs: true,
  });
}

/** One service of the contract. `raw` calls hand over and take the messages' bytes: their frames have hand-written codecs. */
export function serviceOf(contract: PackageDefinition, name: string, raw: readonly string[] = []): ServiceDefinition {
  const found = contract[name];
  assert(found !== undefined && !('format' in found), `the contract has no service ${name}`);
  const service: Record<string, ServiceDefinition[string]> = {};
  for (const [method, definition] of Object.entries(found)) {
    service[method] = raw.includes(method)
      ? {
          ...definition,
          requestSerialize: passThrough,
          requestDeserialize: passThrough,
          responseSerialize: passThrough,
          responseDeserialize: passThrough,
        }
      : definition;
  }
  return service;
}

const passThrough = (bytes: Buffer): Buffer => bytes;
