// The unary calls by name, from the contract's own files: loaded when the first one is made.

import type { PackageDefinition } from '@grpc/proto-loader';
import { loadContract, serviceOf } from '#lib/rpc/protobuf.ts';
import { assert } from '#lib/types/assert.ts';
import type { Channels } from './channels.ts';

/** A message as proto-loader gives it: every field is there. */
export type Fields = Readonly<Record<string, unknown>>;

export class Calls {
  readonly #channels: Channels;
  #contract: PackageDefinition | null = null;

  constructor(channels: Channels) {
    this.#channels = channels;
  }

  /** Throws `SluiceError`; repeats while no server can be reached. */
  call(service: 'Messaging' | 'Admin', method: string, request: Fields): Promise<Fields> {
    this.#contract ??= loadContract();
    const definition = serviceOf(this.#contract, `sluice.v1.${service}`)[method];
    assert(definition !== undefined, `the contract has no call ${service}.${method}`);
    return this.#channels.call(
      {
        path: definition.path,
        serialize: fields => definition.requestSerialize(fields),
        deserialize: bytes => definition.responseDeserialize(bytes) as Fields,
      },
      request,
    );
  }
}

/** Readers of fields that the contract promises; a server that breaks it gives the zero value. */
export const textOf = (fields: Fields, name: string): string => {
  const value = fields[name];
  return typeof value === 'string' ? value : '';
};
export const numberOf = (fields: Fields, name: string): number => {
  const value = fields[name];
  return typeof value === 'number' ? value : 0;
};
export const fieldsOf = (fields: Fields, name: string): Fields => {
  const value = fields[name];
  return isFields(value) ? value : {};
};
export const listOf = (fields: Fields, name: string): readonly Fields[] => {
  const value = fields[name];
  return Array.isArray(value) ? value.filter(isFields) : [];
};
export const textsOf = (fields: Fields, name: string): readonly string[] => {
  const value = fields[name];
  return Array.isArray(value) ? value.filter(item => typeof item === 'string') : [];
};

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
