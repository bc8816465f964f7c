// What this client says of itself in the first frame of a stream.

export const PROTOCOL_VERSION = 1;
export const CLIENT_VERSION = '0.1.0';
