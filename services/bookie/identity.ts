// Who this data folder is: the cluster it belongs to, its incarnation id, and the ids it had before a damage. Kept in two copies; one good
// copy is enough. All that can be wrong with a folder at start is a `BookieStartError`, which says what to do.

import { join } from 'node:path';
import { type Disk, DiskError, type World } from '#lib/runtime/ports.ts';
import { type BookieId, bookieId } from '#lib/types/brands.ts';
import { newBookieId } from '#lib/types/ids.ts';
import { ByteReader, ByteWriter } from '#lib/wire/bytes.ts';
import { crc32c } from '#lib/wire/crc32c.ts';

const MAGIC = 0x44494c53;
const VERSION = 1;
const NAMES = ['identity', 'identity.copy'] as const;
const FORMER_MAX = 1000;

export type StartProblem = 'other_cluster' | 'newer_version' | 'read_only' | 'in_use' | 'damaged' | 'missing_folder' | 'no_space';

/** The folder cannot be served as it is. `message` says what is wrong and what to do. */
export class BookieStartError extends Error {
  override readonly name = 'BookieStartError';
  readonly problem: StartProblem;

  constructor(problem: StartProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.problem = problem;
  }
}

/** An id under which this folder served before a damage. `accepted`: its loss was accepted, it counts as our own again. */
export interface FormerId {
  readonly id: BookieId;
  readonly accepted: boolean;
}

export interface Identity {
  readonly clusterId: string;
  readonly id: BookieId;
  readonly former: readonly FormerId[];
}

/** How this folder stands to a ledger's ensemble. */
export function standing(identity: Identity, ensemble: readonly BookieId[]): 'member' | 'doubtful' | 'stranger' {
  if (ensemble.includes(identity.id)) return 'member';
  const former = identity.former.find(({ id }) => ensemble.includes(id));
  if (!former) return 'stranger';
  return former.accepted ? 'member' : 'doubtful';
}

/** After a damage: another id, and all earlier ones are in doubt. */
export function reborn(identity: Identity, world: World): Identity {
  const former = [...identity.former.map(({ id }) => id), identity.id].slice(-FORMER_MAX).map(id => ({ id, accepted: false }));
  return { clusterId: identity.clusterId, id: newBookieId(idSource(world)), former };
}

/** The identity in `folder`, made when the folder is empty. `clusterId` null: whatever the folder says. */
export async function openIdentity(world: World, folder: string, clusterId: string | null): Promise<Identity> {
  const found = await readIdentity(world.disk, folder);
  if (!found) return create(world, folder, clusterId);
  if (clusterId !== null && clusterId !== found.identity.clusterId)
    throw new BookieStartError(
      'other_cluster',
      `${folder} holds data of cluster ${found.identity.clusterId}, and this is cluster ${clusterId}: point dataDir at another folder, or this server at that cluster`,
    );
  if (found.copies < NAMES.length) await writeIdentity(world.disk, folder, found.identity);
  return found.identity;
}

async function create(world: World, folder: string, clusterId: string | null): Promise<Identity> {
  const others = (await world.disk.list(folder)).filter(name => /^(journal|segments|manifest)/.test(name));
  for (const name of others)
    if ((await world.disk.list(join(folder, name))).length > 0)
      throw new BookieStartError(
        'missing_folder',
        `${folder} has a ${name} folder with data, but no identity file: restore ${join(folder, NAMES[0])} from a copy, or start with an empty folder`,
      );
  const identity: Identity = { clusterId: clusterId ?? randomUuid(world), id: newBookieId(idSource(world)), former: [] };
  await writeIdentity(world.disk, folder, identity);
  return identity;
}

async function readIdentity(disk: Disk, folder: string): Promise<{ identity: Identity; copies: number } | undefined> {
  const names = await disk.list(folder);
  const copies: Identity[] = [];
  let there = 0;
  for (const name of NAMES) {
    if (!names.includes(name)) continue;
    there++;
    const file = await disk.open(join(folder, name), { readOnly: true });
    const view = Buffer.alloc(await file.size());
    const identity = decode(view.subarray(0, await file.read(view, 0)), folder);
    await file.close();
    if (identity) copies.push(identity);
  }
  const [first, second] = copies;
  if (first) return { identity: first, copies: second && encode(first).equals(encode(second)) ? 2 : 1 };
  if (there === 0) return undefined;
  throw new BookieStartError(
    'damaged',
    `${join(folder, NAMES[0])} and its copy are damaged: restore one of them, or start with an empty folder as a new bookie`,
  );
}

/** Durable when it returns, one copy after the other: a crash leaves at least one whole. */
export async function writeIdentity(disk: Disk, folder: string, identity: Identity): Promise<void> {
  const bytes = encode(identity);
  for (const name of NAMES) {
    const path = join(folder, name);
    const file = await disk.open(`${path}.new`, { create: true });
    await file.truncate(0);
    await file.write([bytes], 0);
    await file.sync();
    await file.close();
    await disk.rename(`${path}.new`, path);
    await disk.syncFolder(folder);
  }
}

function encode({ clusterId, id, former }: Identity): Buffer {
  const writer = new ByteWriter();
  writer.u32(MAGIC);
  writer.u32(VERSION);
  writer.uuid(clusterId);
  writer.hex(id);
  writer.u16(former.length);
  for (const { id: old, accepted } of former) {
    writer.hex(old);
    writer.u8(accepted ? 1 : 0);
  }
  writer.u32(crc32c(writer.view()));
  return writer.view();
}

/** Undefined when it is damaged. */
function decode(view: Buffer, folder: string): Identity | undefined {
  if (view.length < 12 || crc32c(view.subarray(0, view.length - 4)) !== view.readUInt32LE(view.length - 4)) return undefined;
  const reader = new ByteReader(view.subarray(0, view.length - 4));
  if (reader.u32() !== MAGIC) return undefined;
  const version = reader.u32();
  if (version > VERSION)
    throw new BookieStartError(
      'newer_version',
      `${folder} was written by a newer Sluice (format ${version}, this one reads up to ${VERSION}): start that version`,
    );
  const clusterId = reader.uuid();
  const id = bookieId(reader.hex(32));
  const former: FormerId[] = [];
  const count = reader.u16();
  for (let n = 0; n < count; n++) former.push({ id: bookieId(reader.hex(32)), accepted: reader.u8() === 1 });
  reader.end();
  return reader.problem === undefined ? { clusterId, id, former } : undefined;
}

export interface FolderLock {
  release(): Promise<void>;
}

/** Makes the folder and locks it. */
export async function takeFolder(world: World, folder: string): Promise<FolderLock> {
  try {
    await world.disk.makeFolder(folder);
    const lock = await world.disk.lock(join(folder, 'lock'));
    if (lock.kind === 'held')
      throw new BookieStartError('in_use', `${folder} is in use by ${lock.holder}: stop it, or point dataDir at another folder`);
    return lock;
  } catch (error) {
    throw startError(error, folder);
  }
}

/** What the disk refuses at start, in words. Other errors stay what they are. */
export function startError(error: unknown, folder: string): unknown {
  if (!(error instanceof DiskError)) return error;
  if (error.reason === 'read_only')
    return new BookieStartError(
      'read_only',
      `${folder} cannot be written (${error.message}): check its owner, its mode and how it is mounted`,
      { cause: error },
    );
  if (error.reason === 'full')
    return new BookieStartError('no_space', `${folder} has no space left to start (${error.message}): free some`, { cause: error });
  return error;
}

const idSource = (world: World) => ({ now: () => world.clock.now(), randomBytes: (count: number) => world.random.bytes(count) });

function randomUuid(world: World): string {
  const raw = world.random.bytes(16);
  raw[6] = ((raw[6] ?? 0) & 0x0f) | 0x40;
  raw[8] = ((raw[8] ?? 0) & 0x3f) | 0x80;
  const hex = raw.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
