import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import * as codec from './messaging-codec.ts';
import { Dice } from './testing/random.ts';
import { contractType, referenceEncode, toContract } from './testing/reference.ts';
import * as samples from './testing/samples.ts';

/** What is asked of every frame of the contract. */
interface Kind<T> {
  readonly name: string;
  readonly sample: (dice: Dice) => T;
  readonly encode: (frame: T) => Buffer;
  readonly decode: (view: Buffer) => T | Failure;
  readonly plain: (frame: T) => Record<string, unknown>;
}

function suite<T>(kind: Kind<T>): void {
  describe(kind.name, () => {
    it('has the bytes that a generated stub writes, and reads them back', () => {
      for (let seed = 0; seed < 300; seed++) {
        const frame = kind.sample(new Dice(seed));
        const bytes = kind.encode(frame);
        expect(bytes.toString('hex'), `seed ${seed}`).toBe(referenceEncode(kind.name, kind.plain(frame)).toString('hex'));
        expect(kind.decode(bytes), `seed ${seed}`).toEqual(frame);
      }
    });

    it('passes by fields of a later version', () => {
      const later = Buffer.from('f2060474657374f80601f50600000001f1060000000000000001', 'hex');
      const frame = kind.sample(new Dice(7));
      expect(kind.decode(Buffer.concat([later, kind.encode(frame), later]))).toEqual(frame);
    });

    it('answers every truncation and every changed byte with a frame or a refusal', () => {
      for (let seed = 1000; seed < 1004; seed++) {
        const bytes = kind.encode(kind.sample(new Dice(seed)));
        for (let length = 0; length < bytes.length; length++) sound(kind.decode, bytes.subarray(0, length));
        for (let at = 0; at < bytes.length; at++)
          for (const mask of [0x01, 0x04, 0x08, 0x80, 0xff]) {
            const changed = Buffer.from(bytes);
            changed[at] = (changed[at] ?? 0) ^ mask;
            sound(kind.decode, changed);
          }
      }
    });

    it('refuses what protobufjs cannot read', () => {
      let refused = 0;
      for (let seed = 2000; seed < 2008; seed++) {
        const bytes = kind.encode(kind.sample(new Dice(seed)));
        for (let length = 0; length < bytes.length; length++) {
          const cut = bytes.subarray(0, length);
          if (referenceAccepts(kind.name, cut)) continue;
          refused++;
          expect(isFailure(kind.decode(cut)), `seed ${seed}, ${length} bytes`).toBe(true);
        }
      }
      expect(refused).toBeGreaterThan(0);
    });
  });
}

/** Neither an exception nor a view outside what was given. */
function sound<T>(decode: (view: Buffer) => T | Failure, view: Buffer): void {
  const guarded = Buffer.concat([Buffer.alloc(64, 0xee), view, Buffer.alloc(64, 0xee)]).subarray(64, 64 + view.length);
  const first = decode(guarded);
  if (isFailure(first)) expect(['invalid_argument', 'corrupt_batch', 'unsupported']).toContain(first.code);
  if (!isDeepStrictEqual(first, decode(Buffer.from(view)))) expect.fail(`what surrounds ${view.toString('hex')} is read as well`);
}

function referenceAccepts(name: string, view: Buffer): boolean {
  try {
    contractType(name).decode(view);
    return true;
  } catch {
    return false;
  }
}

suite({
  name: 'PublishRequest',
  sample: samples.publishRequest,
  encode: codec.encodePublishRequest,
  decode: codec.decodePublishRequest,
  plain: toContract.PublishRequest,
});
suite({
  name: 'PublishResponse',
  sample: samples.publishResponse,
  encode: codec.encodePublishResponse,
  decode: codec.decodePublishResponse,
  plain: toContract.PublishResponse,
});
suite({
  name: 'SendRequest',
  sample: samples.sendRequest,
  encode: codec.encodeSendRequest,
  decode: codec.decodeSendRequest,
  plain: toContract.SendRequest,
});
suite({
  name: 'SendResponse',
  sample: samples.sendResponse,
  encode: codec.encodeSendResponse,
  decode: codec.decodeSendResponse,
  plain: toContract.SendResponse,
});
suite({
  name: 'SubscribeRequest',
  sample: samples.subscribeRequest,
  encode: codec.encodeSubscribeRequest,
  decode: codec.decodeSubscribeRequest,
  plain: toContract.SubscribeRequest,
});
suite({
  name: 'SubscribeResponse',
  sample: samples.subscribeResponse,
  encode: codec.encodeSubscribeResponse,
  decode: codec.decodeSubscribeResponse,
  plain: toContract.SubscribeResponse,
});
suite({
  name: 'ReadRequest',
  sample: samples.readRequest,
  encode: codec.encodeReadRequest,
  decode: codec.decodeReadRequest,
  plain: toContract.ReadRequest,
});
suite({
  name: 'ReadResponse',
  sample: samples.readResponse,
  encode: codec.encodeReadResponse,
  decode: codec.decodeReadResponse,
  plain: toContract.ReadResponse,
});
