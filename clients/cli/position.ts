// Where to start: `earliest`, `latest`, an offset, or a time.

import { parseDuration } from '#lib/config/units.ts';
import { wrongValue } from './arguments.ts';

export type StartPosition = 'earliest' | 'latest' | { readonly offset: number } | { readonly time: number };

export const POSITION_DOC = 'earliest, latest, an offset (17), a time (2026-11-24T18:00:00Z), or a while ago (15m)';

/** A number is an offset; a time is ISO 8601 (local time without a zone); a duration counts back from `nowMs`. */
export function parsePosition(flag: string, text: string, nowMs: number): StartPosition {
  if (text === 'earliest' || text === 'latest') return text;
  if (/^\d+$/.test(text)) {
    const offset = Number(text);
    if (Number.isSafeInteger(offset)) return { offset };
  }
  const ago = parseDuration(text);
  if (ago.kind === 'value') return { time: nowMs - ago.value };
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isFinite(time)) return { time };
  throw wrongValue(flag, text, POSITION_DOC);
}
