// Back-pressure for what clients stream to us. grpc-js reads up to 16 messages ahead of a handler, which at 12 MiB each is too much for
// one client; a gate stops reading at once, in front of that buffer. The handler finds the gate by the call's metadata object, which is
// the only thing that grpc-js hands to both.

import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';

/** Reading of one stream: shut, the next message stays in HTTP/2's window, and the client waits. */
export interface ReadGate {
  shut(): void;
  open(): void;
}

export interface ReadGates {
  readonly interceptor: ServerInterceptor;
  /** The gate of a streaming call; a call without one cannot be stopped. */
  of(call: { readonly metadata: Metadata }): ReadGate;
}

export function createReadGates(): ReadGates {
  const gates = new WeakMap<Metadata, GatedCall>();
  return {
    interceptor: (method, next) => {
      if (!method.requestStream) return new ServerInterceptingCall(next);
      const call: GatedCall = new GatedCall(next, {
        start: begin =>
          begin({
            onReceiveMetadata: (metadata, pass) => {
              gates.set(metadata, call);
              pass(metadata);
            },
          }),
      });
      return call;
    },
    of: call => gates.get(call.metadata) ?? NO_GATE,
  };
}

const NO_GATE: ReadGate = { shut: () => {}, open: () => {} };

class GatedCall extends ServerInterceptingCall implements ReadGate {
  #shut = false;
  #wanted = false;

  override startRead(): void {
    if (this.#shut) this.#wanted = true;
    else super.startRead();
  }

  shut(): void {
    this.#shut = true;
  }

  open(): void {
    if (!this.#shut) return;
    this.#shut = false;
    if (!this.#wanted) return;
    this.#wanted = false;
    super.startRead();
  }
}
