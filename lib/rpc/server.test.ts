import http2 from 'node:http2';
import net from 'node:net';
import { gzipSync } from 'node:zlib';
import { Client, credentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock, Logger } from '#lib/runtime/ports.ts';
import { KIB, MIB } from '#lib/types/limits.ts';
import { loadContract, serviceOf } from './protobuf.ts';
import type { ReadGate } from './read-gate.ts';
import { createRpcServer, ListenError, RPC_DEFAULTS, type RpcServer, type RpcServerConfig, splitAddress } from './server.ts';

const clock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  soon: run => setImmediate(run),
};
const logger: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => logger };
const contract = loadContract();
const messaging = serviceOf(contract, 'sluice.v1.Messaging', ['Publish']);
const closing: (() => unknown)[] = [];

interface Started {
  readonly server: RpcServer;
  readonly received: Buffer[];
  readonly gates: ReadGate[];
  readonly ended: string[];
}

/** Counts and keeps what a Publish stream sends. */
async function start(changes: Partial<RpcServerConfig> = {}): Promise<Started> {
  const received: Buffer[] = [];
  const gateOf: ReadGate[] = [];
  const ended: string[] = [];
  const server = await createRpcServer(
    { ...RPC_DEFAULTS, listen: '127.0.0.1:0', ...changes },
    {
      clock,
      logger,
      contract,
      services: gates => [
        {
          definition: messaging,
          implementation: {
            Publish: (call: ServerDuplexStream<Buffer, Buffer>) => {
              gateOf.push(gates.of(call));
              call.on('data', message => received.push(message));
              call.on('end', () => call.end());
              call.on('cancelled', () => ended.push('cancelled'));
            },
          },
        },
      ],
    },
  );
  closing.push(() => server.close(0));
  return { server, received, gates: gateOf, ended };
}

function publish(server: RpcServer) {
  const client = new Client(server.address, credentials.createInsecure());
  closing.push(() => client.close());
  const pass = (bytes: Buffer) => bytes;
  const stream = client.makeBidiStreamRequest('/sluice.v1.Messaging/Publish', pass, pass);
  stream.on('error', () => {});
  stream.resume();
  return stream;
}

async function until(what: () => boolean, withinMs = 5_000): Promise<void> {
  const end = Date.now() + withinMs;
  while (!what()) {
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

describe('rpc server', () => {
  it('serves on the port it says, also for port 0', async () => {
    const { server, received } = await start();
    expect(server.port).toBeGreaterThan(0);
    expect(server.address).toBe(`127.0.0.1:${server.port}`);
    publish(server).write(Buffer.from('hello'));
    await until(() => received.length === 1);
    expect(received[0]?.toString()).toBe('hello');
  });

  it('answers health checks and reflection', async () => {
    const { server } = await start();
    const client = new Client(server.address, credentials.createInsecure());
    closing.push(() => client.close());
    const pass = (bytes: Buffer) => bytes;
    const health = await new Promise<Buffer | undefined>((resolve, reject) =>
      client.makeUnaryRequest('/grpc.health.v1.Health/Check', pass, pass, Buffer.alloc(0), (error, reply) =>
        error ? reject(error) : resolve(reply),
      ),
    );
    expect(health).toEqual(Buffer.from([8, 1]));
    const stream = client.makeBidiStreamRequest('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', pass, pass);
    stream.on('error', () => {});
    const listed = new Promise<Buffer>(resolve => stream.once('data', resolve));
    stream.write(Buffer.from([0x3a, 0]));
    expect((await listed).toString('latin1')).toContain('sluice.v1.Messaging');
    stream.cancel();
  });

  it('says in one sentence why it cannot listen', async () => {
    const { server } = await start();
    await expect(start({ listen: server.address })).rejects.toThrow(/in use by another process/);
    await expect(start({ listen: 'nonsense' })).rejects.toThrow(ListenError);
    expect(() => splitAddress('localhost:99999')).toThrow(/is not HOST:PORT/);
    expect(splitAddress('[::1]:80')).toEqual({ host: '::1', port: 80 });
    expect(splitAddress(':80')).toEqual({ host: '::', port: 80 });
  });

  it('opens HTTP/2 windows at the modest size and widens them for a connection that fills them', async () => {
    const { server, received } = await start({ windowOpeningBytes: 128 * KIB, windowMaxBytes: 2 * MIB });
    const session = http2.connect(`http://${server.address}`);
    closing.push(() => session.destroy());
    await new Promise(resolve => session.once('remoteSettings', resolve));
    expect(session.remoteSettings.initialWindowSize).toBe(128 * KIB);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/sluice.v1.Messaging/Publish',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const message = Buffer.alloc(5 + 1000 * KIB);
    message.writeUInt32BE(1000 * KIB, 1);
    for (let i = 0; i < 40 && (session.remoteSettings.initialWindowSize ?? 0) < 2 * MIB; i++) {
      stream.write(message);
      await new Promise(resolve => setTimeout(resolve, 25));
    }
    expect(session.remoteSettings.initialWindowSize).toBe(2 * MIB);
    await until(() => (session.state.remoteWindowSize ?? 0) > MIB);
    expect(received.length).toBeGreaterThan(0);
    expect(server.counts().windowBytes).toBe(2 * MIB);
    session.destroy();
    await until(() => server.counts().windowBytes === 0);
  });

  it('stops reading where a handler says so, within one message and the window', async () => {
    const { server, received, gates } = await start();
    const stream = publish(server);
    stream.write(Buffer.alloc(10));
    await until(() => received.length === 1);
    gates[0]?.shut();
    for (let i = 0; i < 50; i++) stream.write(Buffer.alloc(MIB));
    await new Promise(resolve => setTimeout(resolve, 300));
    expect(received.length).toBeLessThanOrEqual(3);
    gates[0]?.open();
    await until(() => received.length === 51);
  });

  it('refuses a message that is too large, and goes on with others', async () => {
    const { server, received } = await start({ messageBytesMax: MIB });
    const stream = publish(server);
    const end = new Promise<{ code?: number }>(resolve => stream.on('error', resolve));
    stream.write(Buffer.alloc(MIB + 1));
    expect((await end).code).toBe(8);
    publish(server).write(Buffer.alloc(MIB));
    await until(() => received.length === 1);
  });

  it('refuses a length of 2^32 - 1, and what unpacks to more than is allowed, without making room for either', async () => {
    const { server, received } = await start({ messageBytesMax: MIB });
    const end = (bytes: Buffer, headers: Record<string, string> = {}) =>
      new Promise<string>(resolve => {
        const session = http2.connect(`http://${server.address}`);
        closing.push(() => session.destroy());
        const path = '/sluice.v1.Messaging/Publish';
        const stream = session.request({
          ':method': 'POST',
          ':path': path,
          'content-type': 'application/grpc',
          te: 'trailers',
          ...headers,
        });
        const look = (found: http2.IncomingHttpHeaders) => {
          if (found['grpc-status'] !== undefined) resolve(String(found['grpc-status']));
        };
        stream.on('response', look);
        stream.on('trailers', look);
        stream.on('error', () => {});
        stream.resume();
        stream.write(bytes);
      });
    const before = process.memoryUsage().rss;
    expect(await end(Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]))).toBe('8');
    const bomb = gzipSync(Buffer.alloc(64 * MIB));
    const head = Buffer.from([1, 0, 0, 0, 0]);
    head.writeUInt32BE(bomb.length, 1);
    expect(await end(Buffer.concat([head, bomb]), { 'grpc-encoding': 'gzip' })).toBe('8');
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * MIB);
    expect(received).toEqual([]);
  });

  it('notices a peer that no longer answers', async () => {
    const { server, ended, received } = await start({ keepaliveTimeMs: 100, keepaliveTimeoutMs: 100 });
    const [host, port] = ['127.0.0.1', server.port];
    let frozen = false;
    const sockets: net.Socket[] = [];
    const relay = net.createServer(inside => {
      const outside = net.connect(port, host);
      sockets.push(inside, outside);
      inside.on('data', bytes => frozen || outside.write(bytes)).on('error', () => {});
      outside.on('data', bytes => frozen || inside.write(bytes)).on('error', () => {});
    });
    await new Promise<void>(resolve => relay.listen(0, host, resolve));
    closing.push(() => {
      for (const socket of sockets) socket.destroy();
      relay.close();
    });
    const address = relay.address() as net.AddressInfo;
    const client = new Client(`${host}:${address.port}`, credentials.createInsecure());
    closing.push(() => client.close());
    const pass = (bytes: Buffer) => bytes;
    const stream = client.makeBidiStreamRequest('/sluice.v1.Messaging/Publish', pass, pass);
    stream.on('error', () => {});
    stream.write(Buffer.from('x'));
    await until(() => received.length === 1);
    frozen = true;
    await until(() => ended.length === 1, 2_000);
  });

  it('keeps connections that send nothing cheap, counts them, and closes them when their time is up', async () => {
    const { server, received } = await start({ connectionsMax: 200, firstByteTimeoutMs: 400 });
    const sockets = Array.from({ length: 250 }, () => net.connect(server.port, '127.0.0.1').on('error', () => {}));
    closing.push(() => sockets.map(socket => socket.destroy()));
    await until(() => server.counts().refusedConnections === 50);
    expect(server.counts()).toMatchObject({ connections: 200, silentConnections: 200 });
    await until(() => server.counts().connections === 0);
    publish(server).write(Buffer.from('x'));
    await until(() => received.length === 1);
    expect(server.counts().silentConnections).toBe(0);
  });

  it('closes: running calls end, the port is free again', async () => {
    const { server, ended, received } = await start();
    const stream = publish(server);
    stream.write(Buffer.from('x'));
    await until(() => received.length === 1);
    expect(server.counts().connections).toBe(1);
    await server.close(50);
    await until(() => ended.length === 1);
    expect(server.counts().connections).toBe(0);
    const again = await start({ listen: server.address });
    expect(again.server.port).toBe(server.port);
  });
});
