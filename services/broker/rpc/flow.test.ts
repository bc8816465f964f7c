import { describe, expect, it } from 'vitest';
import type { ReadGate } from '#lib/rpc/read-gate.ts';
import { BytePool } from './byte-pool.ts';
import { Intake } from './intake.ts';
import { StreamWriter } from './stream-writer.ts';

class Gate implements ReadGate {
  isShut = false;
  shut(): void {
    this.isShut = true;
  }
  open(): void {
    this.isShut = false;
  }
}

describe('intake', () => {
  it('shuts the gate at its limits and opens it at half', () => {
    const gate = new Gate();
    const pool = new BytePool(10_000);
    const intake = new Intake(gate, pool, { bytesMax: 100, itemsMax: 4 });
    intake.take(60);
    expect(gate.isShut).toBe(false);
    intake.take(60);
    expect(gate.isShut).toBe(true);
    intake.give(60);
    expect(gate.isShut).toBe(true);
    intake.give(60);
    expect(gate.isShut).toBe(false);
    for (let i = 0; i < 4; i++) intake.take(1);
    expect(gate.isShut).toBe(true);
    intake.give(1);
    expect(gate.isShut).toBe(true);
    intake.give(1);
    expect(gate.isShut).toBe(false);
    intake.close();
    expect(pool.bytes).toBe(0);
  });

  it('stops every stream that has something under way while the pool is full, and no stream for good', () => {
    const pool = new BytePool(100);
    const gates = [new Gate(), new Gate()];
    const [big, small] = gates.map(gate => new Intake(gate, pool, { bytesMax: 1000, itemsMax: 10 }));
    big?.take(100);
    small?.take(1);
    expect(gates.map(gate => gate.isShut)).toEqual([true, true]);
    small?.give(1);
    expect(gates.map(gate => gate.isShut)).toEqual([true, false]);
    big?.give(100);
    expect(gates.map(gate => gate.isShut)).toEqual([false, false]);
  });

  it('stays shut while answers find no room, whatever the bytes', () => {
    const gate = new Gate();
    const intake = new Intake(gate, new BytePool(100), { bytesMax: 100, itemsMax: 4 });
    intake.take(1);
    intake.setAnswersWaiting(4);
    expect(gate.isShut).toBe(true);
    intake.give(1);
    expect(gate.isShut).toBe(true);
    intake.setAnswersWaiting(0);
    expect(gate.isShut).toBe(false);
  });
});

describe('stream writer', () => {
  it('counts what the client has not taken, and tells when there is room again', () => {
    const done: (() => void)[] = [];
    const pool = new BytePool(1000);
    let rooms = 0;
    const writer = new StreamWriter({ write: (_bytes, written) => done.push(() => written()) }, pool, 100, () => {
      rooms += 1;
    });
    writer.write(Buffer.alloc(99));
    expect(writer.isFull()).toBe(false);
    writer.write(Buffer.alloc(300));
    expect(writer.isFull()).toBe(true);
    expect(pool.bytes).toBe(399);
    done.shift()?.();
    expect(rooms).toBe(0);
    done.shift()?.();
    expect(rooms).toBe(1);
    expect(pool.bytes).toBe(0);
    writer.write(Buffer.alloc(5));
    done.shift()?.();
    expect(rooms).toBe(1);
  });

  it('lets every stream have one response under way when the pool is used up', () => {
    const pool = new BytePool(10);
    const writers = [1, 2, 3].map(() => new StreamWriter({ write: () => {} }, pool, 100, () => {}));
    for (const writer of writers) {
      expect(writer.isFull()).toBe(false);
      writer.write(Buffer.alloc(50));
      expect(writer.isFull()).toBe(true);
    }
    for (const writer of writers) writer.close();
    expect(pool.bytes).toBe(0);
  });
});
