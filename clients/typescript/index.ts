// The TypeScript client of Sluice: what users import.

export type { ErrorCode, Retry, Stored } from '#lib/types/errors.ts';
export { SluiceError } from '#lib/types/errors.ts';
export {
  Admin,
  type CreateSubscription,
  type CreateTopic,
  type DeleteOptions,
  type SeekSubscription,
  type SubscriptionRef,
  type UpdateTopic,
} from './admin.ts';
export { connect, SluiceClient } from './client.ts';
export { type Acknowledgeable, Consumer } from './consumer.ts';
export { Producer } from './producer.ts';
export { Reader } from './reader.ts';
export { ReceivedBatch, ReceivedMessage } from './received.ts';
export type * from './types.ts';
