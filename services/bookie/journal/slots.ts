// The files of a journal's folder. `journal-<number>-<bytes>` is whole: filled with zeros, synced, and named only then, so a crash leaves
// no file of another size. `filling-<number>` was not finished and is removed at the next start. Which life a file is in, its header says.

import type { Disk, DiskFile } from '#lib/runtime/ports.ts';

const FILL_CHUNK_BYTES = 1024 * 1024;
const NAME = /^journal-(\d+)-(\d+)$/;

export interface Slot {
  readonly number: number;
  /** The size that it was made with. */
  readonly fileBytes: number;
  /** False when it has another size now: then it is not used again. */
  readonly isWhole: boolean;
  readonly file: DiskFile;
}

export class SlotFolder {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #slots = new Map<number, Slot>();
  #nextNumber = 1;

  constructor(disk: Disk, folder: string) {
    this.#disk = disk;
    this.#folder = folder;
  }

  /** Makes the folder if need be, clears what was not finished, and opens what is there. */
  async open(): Promise<readonly Slot[]> {
    await this.#disk.makeFolder(this.#folder);
    for (const name of await this.#disk.list(this.#folder)) {
      if (name.startsWith('filling-')) await this.#disk.remove(`${this.#folder}/${name}`);
      const match = NAME.exec(name);
      if (!match) continue;
      const number = Number(match[1]);
      const fileBytes = Number(match[2]);
      const file = await this.#disk.open(`${this.#folder}/${name}`);
      this.#slots.set(number, { number, fileBytes, isWhole: (await file.size()) === fileBytes, file });
      this.#nextNumber = Math.max(this.#nextNumber, number + 1);
    }
    await this.#disk.syncFolder(this.#folder);
    return this.bySize();
  }

  get count(): number {
    return this.#slots.size;
  }

  get totalBytes(): number {
    let total = 0;
    for (const slot of this.#slots.values()) total += slot.fileBytes;
    return total;
  }

  /** The largest first. */
  bySize(): Slot[] {
    return [...this.#slots.values()].sort((a, b) => b.fileBytes - a.fileBytes);
  }

  get(number: number): Slot {
    const slot = this.#slots.get(number);
    if (!slot) throw new Error(`the journal has no file ${number}`);
    return slot;
  }

  /** Makes a file of zeros, durable with its name. `isStopped` is asked between chunks; null: it was. Rejects with `full` and leaves nothing. */
  async make(fileBytes: number, isStopped: () => boolean): Promise<Slot | null> {
    const number = this.#nextNumber++;
    const path = `${this.#folder}/filling-${number}`;
    const name = `${this.#folder}/journal-${number}-${fileBytes}`;
    const file = await this.#disk.open(path, { create: true });
    try {
      const zeros = Buffer.alloc(Math.min(FILL_CHUNK_BYTES, fileBytes));
      for (let at = 0; at < fileBytes; at += zeros.length) {
        if (isStopped()) {
          await this.#discard(file);
          return null;
        }
        await file.write([zeros.subarray(0, Math.min(zeros.length, fileBytes - at))], at);
        // In steps, so that a group's sync never waits behind the whole file.
        await file.sync();
      }
    } catch (error) {
      await this.#discard(file);
      throw error;
    }
    await this.#disk.rename(path, name);
    await this.#disk.syncFolder(this.#folder);
    await file.close();
    const slot = { number, fileBytes, isWhole: true, file: await this.#disk.open(name) };
    this.#slots.set(number, slot);
    return slot;
  }

  async remove(number: number): Promise<void> {
    const slot = this.get(number);
    this.#slots.delete(number);
    await slot.file.close();
    await this.#disk.remove(slot.file.path);
  }

  async close(): Promise<void> {
    for (const slot of this.#slots.values()) await slot.file.close();
  }

  async #discard(file: DiskFile): Promise<void> {
    await file.close();
    await this.#disk.remove(file.path);
  }
}
