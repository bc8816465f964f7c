// The HTTP page of a service: /livez (the loop turns), /readyz (it takes work), /metrics. It answers GET and HEAD, reads no bodies, and is
// bounded in connections, header bytes and time, so that nobody can disturb the service through it.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Metrics } from './metrics.ts';

export type Readiness = { readonly kind: 'ready' } | { readonly kind: 'not_ready'; readonly reason: string };

export interface HttpOptions {
  /** Port 0: any free one. */
  readonly host: string;
  readonly port: number;
  readonly metrics: Metrics;
  readonly readiness: () => Readiness;
}

export interface HttpPage {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

const CONNECTIONS_MAX = 128;
const HEADER_BYTES_MAX = 8 * 1024;

/** Rejects with the system's error (`code: 'EADDRINUSE'` …) when it cannot listen. */
export async function startHttpPage(options: HttpOptions): Promise<HttpPage> {
  await options.metrics.prepare();
  const page = new Page(options);
  const server = createServer(
    { maxHeaderSize: HEADER_BYTES_MAX, headersTimeout: 5_000, requestTimeout: 5_000, keepAliveTimeout: 5_000 },
    (request, response) => page.answer(request, response),
  );
  server.maxConnections = CONNECTIONS_MAX;
  server.setTimeout(30_000);
  await listen(server, options.host, options.port);
  const address = server.address() as AddressInfo;
  return { host: address.address, port: address.port, close: () => close(server) };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

class Page {
  readonly #options: HttpOptions;
  /** The page that is being made now: however many ask, it is made once. */
  #making: Promise<{ contentType: string; text: string }> | null = null;

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      // Its body is not read, so the connection cannot be used again.
      response.setHeader('Connection', 'close');
      response.setHeader('Allow', 'GET, HEAD');
      send(response, 405, 'only GET and HEAD\n');
      return;
    }
    switch ((request.url ?? '/').split('?', 1)[0]) {
      case '/livez':
        send(response, 200, 'alive\n');
        return;
      case '/readyz': {
        const readiness = this.#options.readiness();
        if (readiness.kind === 'ready') send(response, 200, 'ready\n');
        else send(response, 503, `not ready: ${readiness.reason}\n`);
        return;
      }
      case '/metrics':
        this.#metrics(response);
        return;
      default:
        send(response, 404, 'there are /livez, /readyz and /metrics\n');
    }
  }

  #metrics(response: ServerResponse): void {
    this.#making ??= this.#options.metrics.page().finally(() => {
      this.#making = null;
    });
    this.#making.then(
      ({ contentType, text }) => send(response, 200, text, contentType),
      (error: unknown) => send(response, 500, `the page could not be made: ${error instanceof Error ? error.message : String(error)}\n`),
    );
  }
}

function send(response: ServerResponse, status: number, text: string, contentType = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'Content-Type': contentType, 'Content-Length': Buffer.byteLength(text), 'Cache-Control': 'no-store' });
  response.end(text);
}
