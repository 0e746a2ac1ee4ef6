/** What the bench uses of autocannon, which ships no types of its own. */
declare module 'autocannon' {
  import type { EventEmitter } from 'node:events';
  import type { SecureContextOptions } from 'node:tls';

  interface Options {
    readonly url: string;
    readonly connections: number;
    readonly duration: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly method?: string;
    readonly body?: string;
    readonly servername?: string;
    readonly tlsOptions?: SecureContextOptions;
  }

  interface Instance extends EventEmitter {
    on(
      event: 'response',
      listener: (client: unknown, status: number, bytes: number, milliseconds: number) => void,
    ): this;
    on(event: 'reqError', listener: (error: Error) => void): this;
    stop(): void;
  }

  export default function autocannon(options: Options): Instance;
}
