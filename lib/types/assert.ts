// Assertions stay on in production: a broken invariant ends the process with a reason instead of serving wrong data.

/** Throws `AssertionError` when `condition` is false. For bugs only, never for input or the environment. */
export function assert(condition: boolean, reason: string): asserts condition {
  if (!condition) throw new AssertionError(reason);
}

/** A bug: an invariant that the program relies on does not hold. Nobody catches it but the process' last handler. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Ends a `switch` over a closed union: compiles only when every kind has been handled. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}
