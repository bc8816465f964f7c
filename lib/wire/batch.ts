// A Batch: `repeated Message messages = 1` and nothing else, so that every run of whole messages is a Batch again. Brokers check one
// once, slice it and move its bytes; clients build and walk it.

import { assert } from '#lib/types/assert.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { BATCH_BYTES_MAX } from '#lib/types/limits.ts';
import { BatchBuilder, type MessageInput } from './batch-builder.ts';
import { BatchCursor } from './batch-cursor.ts';
import type { MessageView } from './frames.ts';

export { BatchBuilder, type BuiltBatch, type MessageInput } from './batch-builder.ts';
export { BatchCursor } from './batch-cursor.ts';
export { type BatchInfo, batchInfo, decodeBatchInfo, decodeBatchInfoView, encodeBatchInfo, encodeBatchInfoView } from './batch-info.ts';

/** Whether `view` is a Batch of `count` messages in which every reader sees the same; null: it is. */
export function checkBatch(view: Buffer, count: number): Failure | null {
  const found = countMessages(view);
  if (isFailure(found)) return found;
  if (found === count) return null;
  return fail('corrupt_batch', `the batch has ${found} messages, and its info says ${count}`, { count: String(found) });
}

/** Checks a batch and counts its messages. */
export function countMessages(view: Buffer): number | Failure {
  if (view.length > BATCH_BYTES_MAX) return fail('message_too_large', `the batch has ${view.length} bytes, over ${BATCH_BYTES_MAX}`);
  const cursor = new BatchCursor(view);
  while (cursor.next()) {}
  return cursor.failure ?? cursor.count;
}

/** `count` messages from the one at index `first` on. The batch has been checked, and has them. */
export function sliceBatch(view: Buffer, first: number, count: number): Buffer {
  const cursor = new BatchCursor(view);
  while (cursor.count < first && cursor.next()) {}
  const start = cursor.end;
  while (cursor.count < first + count && cursor.next()) {}
  assert(cursor.count === first + count, `a slice [${first}, ${first + count}) of a batch with ${cursor.count} messages`);
  return view.subarray(start, cursor.end);
}

/** The messages of a batch as objects; ends early at wrong bytes, so check the batch first. */
export function iterateMessages(view: Buffer): Iterable<MessageView> {
  return new BatchCursor(view);
}

/** The same, all at once. */
export function messagesOf(view: Buffer): MessageView[] {
  const messages: MessageView[] = [];
  const cursor = new BatchCursor(view);
  while (cursor.next()) messages.push(cursor.message());
  return messages;
}

/** The bytes of a few messages, each within the limits. */
export function encodeBatch(messages: readonly MessageInput[]): Buffer {
  const builder = new BatchBuilder(1024);
  for (const message of messages) {
    const outcome = builder.append(message);
    assert(outcome === 'appended', 'the messages fit into one batch');
  }
  return builder.take().batchView;
}
