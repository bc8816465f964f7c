// The hand-written codec of proto/sluice/v1/messaging.proto, gathered: what a server and what a client needs. The bytes mean the same as
// those of any generated stub; what breaks the contract is a Failure that names the field, never an exception.

export {
  decodePublishRequest,
  decodePublishResponse,
  decodeSendRequest,
  decodeSendResponse,
  encodePublishRequest,
  encodePublishResponse,
  encodeSendRequest,
  encodeSendResponse,
} from './publish-codec.ts';
export {
  decodeReadRequest,
  decodeReadResponse,
  decodeSubscribeRequest,
  decodeSubscribeResponse,
  deliveryBytes,
  encodeReadRequest,
  encodeReadResponse,
  encodeSubscribeRequest,
  encodeSubscribeResponse,
} from './subscribe-codec.ts';
