// Lines come from a file or from standard input, in large chunks, until the end or until the command is interrupted.

import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { UsageError } from './arguments.ts';

const CHUNK_BYTES = 256 * 1024;

/** Chunks are given away. Ends early, without an error, when `interrupted` is aborted. */
export async function* readChunks(file: string | undefined, interrupted: AbortSignal): AsyncGenerator<Buffer> {
  const stream: Readable = file === undefined ? process.stdin : createReadStream(file, { highWaterMark: CHUNK_BYTES });
  const stop = () => stream.destroy();
  if (interrupted.aborted) stop();
  else interrupted.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    if (interrupted.aborted) return;
    throw unreadable(file, error);
  } finally {
    interrupted.removeEventListener('abort', stop);
  }
}

function unreadable(file: string | undefined, error: unknown): unknown {
  if (file === undefined || !(error instanceof Error) || !('code' in error)) return error;
  if (error.code === 'ENOENT') return new UsageError(`--file: there is no file ${file}`);
  if (error.code === 'EISDIR') return new UsageError(`--file: ${file} is a folder`);
  if (error.code === 'EACCES') return new UsageError(`--file: ${file} may not be read`);
  return error;
}
