// The contract's services as the gRPC server takes them: the hot calls with bytes in and out, the others with messages. This is where a
// call meets its handler, and nothing else happens here.

import type { ServerDuplexStream, ServerUnaryCall, ServerWritableStream, sendUnaryData, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { serviceOf } from '#lib/rpc/protobuf.ts';
import type { ReadGates } from '#lib/rpc/read-gate.ts';
import type { RpcService } from '#lib/rpc/server.ts';
import { serviceError } from '#lib/rpc/status.ts';
import { isFailure, unknownFate } from '#lib/types/errors.ts';
import { type AdminDeps, type AdminHandler, adminHandlers, lookupHandler } from './admin.ts';
import type { Fields } from './admin-values.ts';
import { servePublish } from './publish.ts';
import { serveRead } from './read.ts';
import { serveSend } from './send.ts';
import { serveSubscribe } from './subscribe.ts';

const RAW_CALLS = ['Publish', 'Send', 'Subscribe', 'Read'];

export function brokerServices(contract: PackageDefinition, gates: ReadGates, deps: AdminDeps): readonly RpcService[] {
  const { edge } = deps;
  const turns = { next: Math.floor(edge.random() * 1_000_000) };
  const messaging: UntypedServiceImplementation = {
    Publish: (call: ServerDuplexStream<Buffer, Buffer>) => servePublish(edge, call, gates.of(call)),
    Subscribe: (call: ServerDuplexStream<Buffer, Buffer>) => serveSubscribe(edge, call, gates.of(call)),
    Read: (call: ServerWritableStream<Buffer, Buffer>) => serveRead(edge, call),
    Send: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => serveSend(edge, turns, call, callback),
    Lookup: unary('Lookup', lookupHandler(edge), deps),
  };
  const admin: UntypedServiceImplementation = {};
  for (const [name, handler] of Object.entries(adminHandlers(deps))) admin[name] = unary(name, handler, deps);
  return [
    { definition: serviceOf(contract, 'sluice.v1.Messaging', RAW_CALLS), implementation: messaging },
    { definition: serviceOf(contract, 'sluice.v1.Admin'), implementation: admin },
  ];
}

function unary(name: string, handler: AdminHandler, { edge }: AdminDeps) {
  return (call: ServerUnaryCall<Fields, Fields>, callback: sendUnaryData<Fields>): void => {
    edge.metrics.requests += 1;
    handler(call.request).then(
      result => {
        edge.metrics.responses += 1;
        if (isFailure(result)) callback(serviceError(result));
        else callback(null, result);
      },
      error => {
        edge.logger.error('a call failed', { call: name, error: String(error) });
        callback(serviceError(unknownFate('internal', `${name} failed; the server's log says why`)));
      },
    );
  };
}
