/** Generated HTTP/2 exchanges: several streams of one connection at a time, and what node:http2 sees of them at both ends. */

import http2, {
  type ClientHttp2Session,
  type Http2Server,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import fc from 'fast-check';

type Pair = readonly [name: string, value: string];

export interface GeneratedMessage {
  readonly fields: readonly Pair[];
  /** Names that are sent never-indexed. */
  readonly sensitive: readonly string[];
  readonly chunks: readonly number[];
  readonly trailers: readonly Pair[];
  readonly announced: boolean;
}

export interface GeneratedStream {
  readonly method: string;
  readonly path: string;
  readonly request: GeneratedMessage;
  readonly interim: readonly Pair[] | null;
  readonly status: number;
  readonly response: GeneratedMessage;
  /** The response begins before the request is read; it ends after it, or the rest of the request serves nobody. */
  readonly early: boolean;
}

/** One side's view of a message. */
export interface SeenMessage {
  readonly pseudo: Readonly<Record<string, string>>;
  readonly fields: Pair[];
  readonly sensitive: string[];
  body: string;
  trailers: Pair[];
}

export interface SeenStream {
  request: SeenMessage | null;
  interim: Pair[][];
  response: SeenMessage | null;
  /** How the client's stream closed: 0 = well. */
  code: number;
}

const TOKEN = [..."abcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~"];
const VALUE = [...Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)), 'é', 'ÿ', '\x80'];
const name = fc
  .string({ unit: fc.constantFrom(...TOKEN), minLength: 1, maxLength: 12 })
  .map(text => `g-${text}`);
const value = fc.oneof(
  fc
    .tuple(
      fc.string({ unit: fc.constantFrom(...VALUE), maxLength: 20 }),
      fc.constantFrom('', ' ', '\t', '  , '),
      fc.string({ unit: fc.constantFrom(...VALUE), minLength: 1, maxLength: 20 }),
    )
    .map(([a, between, b]) => (a === '' ? b : a + between + b)),
  fc.constantFrom('', '0', 'true', 'x'.repeat(300), 'a'.repeat(5_000)),
);
const common = fc.constantFrom<Pair>(
  ['accept', '*/*'],
  ['accept-encoding', 'gzip, deflate'],
  ['cookie', 'a=1'],
  ['cookie', 'b=2; c=3'],
  ['cookie', ''],
  ['accept-language', 'de'],
  ['g-again', '1'],
  ['g-again', '2'],
  ['x-under_score', 'kept'],
);
const SINGLE: readonly Pair[] = [
  ['te', 'trailers'],
  ['user-agent', 'generated/1.0'],
  ['authorization', 'Bearer abc'],
  ['content-type', 'application/octet-stream'],
  ['if-none-match', '"a"'],
  ['expect', 'something'],
];
const requestFields = fc
  .tuple(
    fc.subarray(SINGLE.slice(0, 5) as Pair[]),
    fc.array(fc.oneof(common, fc.tuple(name, value)), { maxLength: 12 }),
  )
  .chain(([single, others]) =>
    fc.shuffledSubarray([...single, ...others], { minLength: single.length + others.length }),
  );
const responseFields = fc.array(
  fc.oneof(
    fc.constantFrom<Pair>(
      ['set-cookie', 'a=1; Path=/'],
      ['set-cookie', 'b=2'],
      ['cache-control', 'no-store'],
      ['vary', 'accept'],
      ['vary', 'cookie'],
      ['link', '</a>'],
    ),
    fc.tuple(name, value),
  ),
  { maxLength: 12 },
);
const trailers = fc.array(fc.tuple(name, value), { maxLength: 4 });
const chunks = fc.array(fc.oneof(fc.nat(200), fc.constantFrom(0, 1, 16_384, 16_385, 40_000, 70_000)), {
  maxLength: 4,
});

const message = (fields: fc.Arbitrary<readonly Pair[]>): fc.Arbitrary<GeneratedMessage> =>
  fc
    .record({ fields, chunks, trailers, announced: fc.boolean(), never: fc.boolean() })
    .map(({ never, ...rest }) => ({
      ...rest,
      // TE is each hop's own.
      sensitive:
        never && rest.fields.length > 0 ? [rest.fields[0]?.[0] ?? ''].filter(one => one !== 'te') : [],
    }));

const stream: fc.Arbitrary<GeneratedStream> = fc
  .record({
    method: fc.constantFrom('GET', 'GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'QUERY'),
    // Nothing that is normalised on its way.
    path: fc
      .string({ unit: fc.constantFrom(...'abcXYZ019-_~:@!$&=+,?'), maxLength: 20 })
      .map(text => `/${text}`),
    request: message(requestFields),
    interim: fc.option(fc.constantFrom<readonly Pair[]>([['link', '</early>']], [['g-hint', '1']]), {
      freq: 4,
    }),
    status: fc.constantFrom(200, 200, 200, 201, 204, 304, 404, 500, 299, 599),
    response: message(responseFields),
    early: fc.boolean(),
  })
  .map(one => {
    const bodiless = one.method === 'GET' || one.method === 'HEAD';
    const empty = one.method === 'HEAD' || one.status === 204 || one.status === 304;
    return {
      ...one,
      early: one.early && !empty,
      request: bodiless ? { ...one.request, chunks: [], trailers: [], announced: false } : one.request,
      response: empty ? { ...one.response, chunks: [], trailers: [], announced: false } : one.response,
    };
  });

/** Streams that are open at the same time. */
export const exchanges = fc.array(stream, { minLength: 1, maxLength: 8 });

function bodyOf({ chunks }: GeneratedMessage, seed: number): Buffer[] {
  return chunks.map((size, i) => Buffer.alloc(size, `${seed}:${i};`));
}

function raw(pairs: readonly Pair[], more: GeneratedMessage): string[] {
  const length = more.chunks.reduce((a, b) => a + b, 0);
  const announced: Pair[] = more.announced ? [['content-length', String(length)]] : [];
  const flat = [...pairs, ...more.fields, ...announced].flat();
  return Object.assign(flat, { [http2.sensitiveHeaders]: [...more.sensitive] });
}

function pairsOf(flat: readonly string[]): Pair[] {
  const pairs: Pair[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) pairs.push([flat[i] ?? '', flat[i + 1] ?? '']);
  return pairs;
}

function seenOf(headers: IncomingHttpHeaders, flat: readonly string[]): SeenMessage {
  const pairs = pairsOf(flat);
  const never = (headers as { [http2.sensitiveHeaders]?: string[] })[http2.sensitiveHeaders] ?? [];
  return {
    pseudo: Object.fromEntries(pairs.filter(([key]) => key.startsWith(':'))),
    fields: pairs.filter(([key]) => !key.startsWith(':')),
    sensitive: [...new Set(never)].sort(),
    body: '',
    trailers: [],
  };
}

/** Trailers as node takes them. */
function grouped(pairs: readonly Pair[]): OutgoingHttpHeaders {
  const found: Record<string, string[]> = {};
  for (const [key, text] of pairs) {
    found[key] ??= [];
    found[key].push(text);
  }
  return found;
}

/** The server of the exchanges; it answers by the number in `g-number`. */
export class ExchangeServer {
  readonly server: Http2Server = http2.createServer();
  #plan: readonly GeneratedStream[] = [];
  #seen: SeenStream[] = [];

  constructor() {
    this.server.on('stream', (stream: ServerHttp2Stream, headers, _flags, flat) =>
      this.#onStream(stream, headers, flat as unknown as string[]),
    );
    this.server.on('sessionError', () => {});
  }

  begin(plan: readonly GeneratedStream[], seen: SeenStream[]): void {
    this.#plan = plan;
    this.#seen = seen;
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flat: readonly string[]): void {
    stream.on('error', () => {});
    const number = Number(headers['g-number']);
    const [plan, seen] = [this.#plan[number], this.#seen[number]];
    if (plan === undefined || seen === undefined) {
      stream.respond({ ':status': 500 }, { endStream: true });
      return;
    }
    const request = seenOf(headers, flat);
    seen.request = request;
    const parts: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => parts.push(bytes));
    stream.on('trailers', (_headers, _flags, more: string[]) => {
      request.trailers = pairsOf(more);
    });
    stream.on('end', () => {
      request.body = Buffer.concat(parts).toString('latin1');
      if (!plan.early) respond(stream, plan, number);
      else if (!stream.writableEnded) stream.end();
    });
    if (plan.early) respond(stream, plan, number);
  }
}

function respond(stream: ServerHttp2Stream, plan: GeneratedStream, number: number): void {
  if (plan.interim !== null)
    stream.additionalHeaders({ ':status': 103, ...Object.fromEntries(plan.interim) });
  const { response } = plan;
  const waitForTrailers = response.trailers.length > 0;
  const head = raw(
    [
      [':status', String(plan.status)],
      ['date', 'Mon, 30 Nov 2026 00:00:00 GMT'],
    ],
    response,
  );
  const empty = response.chunks.length === 0 && !waitForTrailers && !plan.early;
  stream.respond(head as unknown as OutgoingHttpHeaders, { waitForTrailers, endStream: empty });
  if (empty) return;
  stream.on('wantTrailers', () => stream.sendTrailers(grouped(response.trailers)));
  for (const piece of bodyOf(response, number + 100)) stream.write(piece);
  if (!plan.early) stream.end();
}

/** Sends all streams of a plan over one session at once, their content in turns. */
export async function exchange(
  session: ClientHttp2Session,
  server: ExchangeServer,
  plan: readonly GeneratedStream[],
): Promise<SeenStream[]> {
  const seen = plan.map((): SeenStream => ({ request: null, interim: [], response: null, code: -1 }));
  server.begin(plan, seen);
  const sending = plan.map((one, number) => {
    const { request } = one;
    const waitForTrailers = request.trailers.length > 0;
    const pieces = bodyOf(request, number);
    const head = raw(
      [
        [':method', one.method],
        [':scheme', 'http'],
        [':authority', 'app.test'],
        [':path', one.path],
        ['g-number', String(number)],
      ],
      request,
    );
    const endStream = pieces.length === 0 && !waitForTrailers;
    const stream = session.request(head, { endStream, waitForTrailers });
    stream.on('wantTrailers', () => stream.sendTrailers(grouped(request.trailers)));
    const parts: Buffer[] = [];
    const found = seen[number] as SeenStream;
    stream.on('headers', (_headers, _flags, flat: string[]) => found.interim.push(pairsOf(flat)));
    stream.on('response', (headers, _flags, flat) => {
      found.response = seenOf(headers, flat as unknown as string[]);
    });
    stream.on('trailers', (_headers, _flags, flat) => {
      if (found.response !== null) found.response.trailers = pairsOf(flat as unknown as string[]);
    });
    stream.on('data', (bytes: Buffer) => parts.push(bytes));
    stream.on('error', () => {});
    const closed = new Promise<void>(resolve => {
      stream.on('close', () => {
        found.code = stream.rstCode ?? 0;
        if (found.response !== null) found.response.body = Buffer.concat(parts).toString('latin1');
        resolve();
      });
    });
    return { stream, pieces, endStream, closed };
  });
  for (let turn = 0; sending.some(({ pieces }) => turn < pieces.length); turn++)
    for (const { stream, pieces } of sending) if (turn < pieces.length) stream.write(pieces[turn] as Buffer);
  for (const { stream, endStream } of sending) if (!endStream) stream.end();
  await Promise.all(sending.map(({ closed }) => closed));
  return seen;
}
