// The folders of a disk in memory. As on a real disk, a file can be made only where its folder exists.

import { dirname } from 'node:path';
import { assert } from '#lib/types/assert.ts';
import { DiskError } from './ports.ts';

export class FolderTree {
  readonly #folders = new Set<string>(['/']);

  /** Makes the folder and all above it. */
  add(folder: string): void {
    assert(folder.startsWith('/'), `${folder} is no absolute path`);
    for (let made = trimSlash(folder); !this.#folders.has(made); made = dirname(made)) this.#folders.add(made);
  }

  /** Throws `missing` unless the folder of `path` exists. */
  checkParent(path: string): void {
    assert(path.startsWith('/'), `${path} is no absolute path`);
    if (!this.#folders.has(dirname(path))) throw new DiskError('missing', path, `${dirname(path)} does not exist`);
  }

  check(folder: string): void {
    if (!this.#folders.has(trimSlash(folder))) throw new DiskError('missing', folder, `${folder} does not exist`);
  }

  /** The names directly in `folder`, of its folders and of the files among `paths`, sorted. */
  namesIn(folder: string, paths: Iterable<string>): string[] {
    const parent = trimSlash(folder);
    const names: string[] = [];
    for (const path of paths) if (dirname(path) === parent) names.push(path.slice(parent === '/' ? 1 : parent.length + 1));
    for (const path of this.#folders)
      if (path !== '/' && dirname(path) === parent) names.push(path.slice(parent === '/' ? 1 : parent.length + 1));
    return names.sort();
  }
}

function trimSlash(folder: string): string {
  return folder.length > 1 && folder.endsWith('/') ? folder.slice(0, -1) : folder;
}
