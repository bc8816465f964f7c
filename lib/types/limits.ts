// Limits that are part of the contract: the same for every server and every client.

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** One message with its key, headers and framing inside a batch. */
export const MESSAGE_BYTES_MAX = 5 * MIB;
/** One batch: the stored bytes of all its messages. */
export const BATCH_BYTES_MAX = 8 * MIB;
export const BATCH_COUNT_MAX = 100_000;
/** How many of a producer's last batches are remembered, and so how many it may have under way. */
export const PRODUCER_WINDOW_MAX = 64;
/** No response is larger unless the request allows more: a stub's default limit is 4 MiB. */
export const RESPONSE_BYTES_MAX = 3 * MIB;
export const PARTITIONS_MAX = 10_000;
