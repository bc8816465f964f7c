// A client for the time of one command.

import { connect, type SluiceClient } from '#clients/typescript/index.ts';
import { type ErrorCode, SluiceError } from '#lib/types/errors.ts';

/** Closes the client whatever becomes of `run`. */
export async function withClient<T>(servers: string, run: (client: SluiceClient) => Promise<T>): Promise<T> {
  const client = connect({ servers, clientName: 'sluice-cli' });
  try {
    return await run(client);
  } finally {
    await client.close();
  }
}

export const isRefused = (error: unknown, code: ErrorCode): error is SluiceError => error instanceof SluiceError && error.code === code;
