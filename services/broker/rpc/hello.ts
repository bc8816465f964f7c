// The first frame each way: versions and features. This server speaks version 1 and has no features beyond it yet.

import { VERSION } from '#lib/types/version.ts';
import type { HelloFrame, ServerHelloFrame } from '#lib/wire/frames.ts';
import type { Edge } from './edge.ts';

export const PROTOCOL_VERSION = 1;
export const FEATURES: readonly string[] = [];
const SERVER_NAME = `sluice/${VERSION}`;

/** A client with a later version goes on with ours. */
export function serverHello(edge: Edge, _hello: HelloFrame): ServerHelloFrame {
  return {
    protocolVersion: PROTOCOL_VERSION,
    features: FEATURES,
    server: SERVER_NAME,
    clusterId: edge.clusterId,
    keepaliveMs: edge.limits.keepaliveMs,
  };
}
