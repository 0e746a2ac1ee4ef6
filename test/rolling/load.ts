/** Requests at a steady rate, whatever becomes of those before, and what became of each. */
import { Agent, request } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { type Http2Client, http2Plain } from '../http2-peers.ts';

const TICK_MS = 10;
const MAX_TOLD = 40; // failures that are remembered in words
const PATIENCE_MS = 30_000; // a request that has no end by then has failed
const BODY = Buffer.from('0123456789abcdef'.repeat(64));
/** A gRPC message: five bytes say how long it is. */
const MESSAGE = Buffer.concat([Buffer.from([0, 0, 0, BODY.length >> 8, BODY.length & 255]), BODY]);

type Teardown = { teardown(fn: () => unknown): unknown };

export interface LoadOptions {
  /** Where the client's sidecar listens. */
  readonly port: number;
  /** The service as each kind of client names it. */
  readonly hosts: { readonly http1: string; readonly http2: string };
  readonly perSecond: number;
  /** How long the slowest requests take, ms. */
  readonly slowestMs: number;
  /** Of so many requests one is slow. */
  readonly slowEvery: number;
}

/** Each kind resolves with null, or what is wrong with its answer. */
type Kind = readonly [name: string, ask: (load: RollingLoad, path: string) => Promise<string | null>];

const KINDS: readonly Kind[] = [
  ['HTTP/1.1 GET', (load, path) => load.ask1('GET', path)],
  ['HTTP/1.1 POST', (load, path) => load.ask1('POST', path)],
  ['HTTP/2 GET', (load, path) => load.ask2(path, false)],
  ['gRPC', (load, path) => load.ask2(path, true)],
];

export class RollingLoad {
  requests = 0;
  failures = 0;
  underWay = 0;
  /** What each took beyond what the app let it wait, ms. */
  readonly #took: number[] = [];
  /** Which of them took the longest. */
  slowest = '';
  /** The first failures, in words. */
  readonly told: string[] = [];
  readonly #options: LoadOptions;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #http2: Http2Client;
  readonly #timer: NodeJS.Timeout;
  readonly #began = performance.now();
  #slowestMs = 0;
  #wake = (): void => {};

  private constructor(options: LoadOptions, http2: Http2Client) {
    this.#options = options;
    this.#http2 = http2;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  static async start(t: Teardown, options: LoadOptions): Promise<RollingLoad> {
    const load = new RollingLoad(options, await http2Plain(t, options.port, options.hosts.http2));
    t.teardown(() => load.#close());
    return load;
  }

  /** Begins no more and waits for what is under way. @returns how long it ran, s */
  async end(): Promise<number> {
    clearInterval(this.#timer);
    const seconds = (performance.now() - this.#began) / 1_000;
    while (this.underWay > 0) await new Promise<void>(resolve => (this.#wake = resolve));
    this.#close();
    return seconds;
  }

  /** Of what requests took beyond what the app let them wait, ms. */
  quantile(part: number): number {
    const sorted = this.#took.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
  }

  #close(): void {
    clearInterval(this.#timer);
    this.#agent.destroy();
    this.#http2.session.destroy();
  }

  /** Begins what is due by now: a late tick makes up for it. */
  #tick(): void {
    const due = ((performance.now() - this.#began) * this.#options.perSecond) / 1_000;
    while (this.requests < due) void this.#ask(this.requests++);
  }

  async #ask(number: number): Promise<void> {
    const { slowEvery, slowestMs } = this.#options;
    const turn = Math.floor(number / KINDS.length);
    const [name, ask] = KINDS[number % KINDS.length] as Kind;
    const waits = turn % slowEvery === 0 ? Math.ceil(((turn / slowEvery) % 4) + 1) * (slowestMs / 4) : 0;
    const began = performance.now();
    this.underWay++;
    const fault = await ask(this, `/?ms=${Math.floor(waits)}`).catch((error: Error) => error.message);
    const took = performance.now() - began;
    const at = ((began - this.#began) / 1_000).toFixed(2);
    const said = `${name} at ${at} s, waits ${waits} ms, over after ${Math.round(took)}`;
    if (took - waits > this.#slowestMs) {
      this.#slowestMs = took - waits;
      this.slowest = said;
    }
    this.#took.push(took - waits);
    if (fault !== null) {
      this.failures++;
      if (this.told.length < MAX_TOLD) this.told.push(`${said}: ${fault}`);
    }
    this.underWay--;
    this.#wake();
  }

  async ask1(method: 'GET' | 'POST', path: string): Promise<string | null> {
    const { port, hosts } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<string | null>();
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const asked = request(
      { port, path, method, headers: { host: hosts.http1 }, agent: this.#agent, signal },
      response => {
        buffer(response).then(body => {
          const wanted = method === 'POST' ? BODY : Buffer.alloc(0);
          if (response.statusCode !== 200) resolve(`${response.statusCode} ${body}`);
          else resolve(body.equals(wanted) ? null : `a body of ${body.length} bytes`);
        }, reject);
      },
    );
    asked.on('error', reject);
    asked.end(method === 'POST' ? BODY : undefined);
    return promise;
  }

  async ask2(path: string, grpc: boolean): Promise<string | null> {
    const headers = { 'content-type': 'application/grpc', te: 'trailers' };
    const reply = await this.#http2.ask(path, grpc ? { headers, body: MESSAGE } : {});
    if (reply.status !== 200) return `${reply.status} ${reply.body}`;
    const status = reply.trailers['grpc-status'] ?? reply.headers['grpc-status'];
    if (grpc && status !== '0') return `grpc-status ${status} ${reply.headers['grpc-message']}`;
    return reply.body.equals(grpc ? MESSAGE : Buffer.alloc(0))
      ? null
      : `a body of ${reply.body.length} bytes`;
  }
}
