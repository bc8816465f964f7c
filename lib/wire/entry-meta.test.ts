import { describe, expect, it } from 'vitest';
import { isFailure } from '#lib/types/errors.ts';
import { decodeEntryMeta, decodeProducerMark, encodeEntryMeta, encodeProducerMark } from './entry-meta.ts';
import { Dice } from './testing/random.ts';
import { contractType } from './testing/reference.ts';
import * as samples from './testing/samples.ts';

describe('EntryMeta', () => {
  it('has the bytes that a generated stub writes, and reads back', () => {
    for (let seed = 0; seed < 200; seed++) {
      const dice = new Dice(seed);
      const mark = dice.maybe(() => samples.producerMark(dice));
      const producerView = mark === null ? null : encodeProducerMark(mark);
      const infoView = samples.infoView(dice).view;
      const meta = Buffer.concat(encodeEntryMeta(producerView, infoView));
      const type = contractType('EntryMeta');
      expect(Buffer.from(type.encode(type.decode(meta)).finish()), `seed ${seed}`).toEqual(meta);
      expect(decodeEntryMeta(meta)).toEqual({ producerView, infoView });
      if (mark !== null && producerView !== null) expect(decodeProducerMark(producerView)).toEqual(mark);
    }
  });

  it('does not copy the info', () => {
    const infoView = Buffer.from([8, 1]);
    expect(encodeEntryMeta(null, infoView)[1]).toBe(infoView);
  });

  it('refuses two infos', () => {
    const answer = decodeEntryMeta(Buffer.from('1202080112020801', 'hex'));
    expect(isFailure(answer) && answer.detail['field']).toBe('info');
  });
});
