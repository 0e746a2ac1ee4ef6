/**
 * A strict reader of HTTP/1.1 messages for tests, independent of Outrider's own: what leaves a proxy must read as one
 * message after the other, in one way only. It names every fault and mends none.
 */

export interface Message {
  /** The start line. */
  readonly line: string;
  /** Names and values in order, names in their own case, values without the space around them. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** Start line and fields as they came, without the empty line; latin1. */
  readonly head: string;
  /** The body without its framing, latin1. */
  readonly body: string;
  readonly trailers: readonly (readonly [name: string, value: string])[];
  /** False when the bytes end before the message does. */
  readonly complete: boolean;
  /** What two readers could take differently; empty in a sound message. */
  readonly faults: readonly string[];
  /** How the end of the body is told. */
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
}

export interface Messages {
  readonly messages: readonly Message[];
  /** Bytes after the last message, latin1. */
  readonly rest: string;
}

/** Reads requests until the bytes end or a message is not sound. */
export function readRequests(bytes: string): Messages {
  return readAll(bytes, head => requestFraming(head));
}

/** The first request and where it ends; null while its head is not whole. */
export function readRequest(bytes: string): { message: Message; end: number } | null {
  return readOne(bytes, 0, requestFraming, false);
}

/** As readRequest, of the response to a request with `method`. */
export function readResponse(
  bytes: string,
  method: string,
  ended: boolean,
): { message: Message; end: number } | null {
  return readOne(bytes, 0, head => responseFraming(head, Number(head.line.split(' ')[1]), method), ended);
}

/**
 * Reads responses, 1xx too. `methods` are those of the requests in order; `ended` says that the connection is closed,
 * which ends a body that nothing else ends.
 */
export function readResponses(bytes: string, methods: readonly string[], ended: boolean): Messages {
  let answered = 0;
  return readAll(
    bytes,
    head => {
      const status = Number(head.line.split(' ')[1]);
      const method = methods[answered] ?? 'GET';
      if (status >= 200) answered++;
      return responseFraming(head, status, method);
    },
    ended,
  );
}

/** The values of one field, by its name in any case. */
export function valuesOf(message: Pick<Message, 'fields'>, name: string): string[] {
  return message.fields.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
}

/** Status code of a response. */
export function statusOf(message: Message): number {
  return Number(message.line.split(' ')[1]);
}

interface Head {
  line: string;
  fields: [string, string][];
  faults: string[];
}

interface Framing {
  readonly kind: Message['framing'];
  readonly length: number;
}

function readAll(bytes: string, framingOf: (head: Head) => Framing, ended = false): Messages {
  const messages: Message[] = [];
  let at = 0;
  for (;;) {
    const read = readOne(bytes, at, framingOf, ended);
    if (read === null) return { messages, rest: bytes.slice(at) };
    messages.push(read.message);
    at = read.end;
    if (!read.message.complete || read.message.faults.length > 0) return { messages, rest: bytes.slice(at) };
  }
}

function readOne(
  bytes: string,
  at: number,
  framingOf: (head: Head) => Framing,
  ended: boolean,
): { message: Message; end: number } | null {
  const end = bytes.indexOf('\r\n\r\n', at);
  if (end < 0) return null;
  const text = bytes.slice(at, end);
  const head = readHead(text);
  const framing = framingOf(head);
  const body = readBody(bytes, end + 4, framing, head.faults, ended);
  return { message: { ...head, ...body, head: text, framing: framing.kind }, end: body.end };
}

function readHead(text: string): Head {
  const [line = '', ...lines] = text.split('\r\n');
  const faults: string[] = [];
  if (/[\0\r\n]/.test(text.replaceAll('\r\n', ''))) faults.push('bare CR, bare LF or NUL in the head');
  return { line, fields: readFields(lines, faults), faults };
}

function readFields(lines: readonly string[], faults: string[]): [string, string][] {
  return lines.map(line => {
    const match = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/.exec(line);
    if (match === null) faults.push(`malformed field line ${JSON.stringify(line.slice(0, 80))}`);
    return [match?.[1] ?? line, match?.[2] ?? ''];
  });
}

/** One of Content-Length and Transfer-Encoding at most, once, and plain. */
function declaredFraming(head: Head): Framing {
  const lengths = valuesOf(head, 'content-length');
  const codings = valuesOf(head, 'transfer-encoding');
  if (lengths.length > 1) head.faults.push('two Content-Length');
  if (codings.length > 1) head.faults.push('two Transfer-Encoding');
  if (lengths.length > 0 && codings.length > 0) head.faults.push('Content-Length and Transfer-Encoding');
  if (codings.length > 0) {
    if (codings[0]?.toLowerCase() !== 'chunked') head.faults.push(`Transfer-Encoding: ${codings[0]}`);
    return { kind: 'chunked', length: 0 };
  }
  if (lengths.length === 0) return { kind: 'none', length: 0 };
  if (!/^\d{1,15}$/.test(lengths[0] ?? '')) head.faults.push(`Content-Length: ${lengths[0]}`);
  return { kind: 'length', length: Number(lengths[0]) };
}

function requestFraming(head: Head): Framing {
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP\/1\.1$/.test(head.line))
    head.faults.push('malformed request line');
  if (valuesOf(head, 'host').length !== 1) head.faults.push('not exactly one Host');
  return declaredFraming(head);
}

function responseFraming(head: Head, status: number, method: string): Framing {
  if (!/^HTTP\/1\.1 [1-9]\d\d [\t\x20-\x7e\x80-\xff]*$/.test(head.line))
    head.faults.push('malformed status line');
  const declared = declaredFraming(head);
  const tunnel = method === 'CONNECT' && status >= 200 && status < 300;
  if (status < 200 || status === 204 || status === 304 || method === 'HEAD' || tunnel)
    return { kind: 'none', length: 0 };
  return declared.kind === 'none' ? { kind: 'close', length: 0 } : declared;
}

interface Body {
  readonly body: string;
  readonly trailers: Message['trailers'];
  readonly complete: boolean;
  readonly end: number;
}

function readBody(bytes: string, start: number, framing: Framing, faults: string[], ended: boolean): Body {
  const { kind, length } = framing;
  if (kind === 'none') return { body: '', trailers: [], complete: true, end: start };
  if (kind === 'close') return { body: bytes.slice(start), trailers: [], complete: ended, end: bytes.length };
  if (kind === 'chunked') return readChunks(bytes, start, faults);
  const end = Math.min(bytes.length, start + length);
  return { body: bytes.slice(start, end), trailers: [], complete: end === start + length, end };
}

function readChunks(bytes: string, start: number, faults: string[]): Body {
  const unfinished = (body: string): Body => ({ body, trailers: [], complete: false, end: bytes.length });
  let body = '';
  for (let at = start; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return unfinished(body);
    const size = bytes.slice(at, lineEnd);
    if (!/^[0-9a-f]{1,13}$/i.test(size)) {
      faults.push(`chunk size ${JSON.stringify(size.slice(0, 80))}`);
      return unfinished(body);
    }
    const length = Number.parseInt(size, 16);
    at = lineEnd + 2;
    if (length === 0) return readTrailers(bytes, at, body, faults);
    if (bytes.length < at + length + 2) return unfinished(body + bytes.slice(at, at + length));
    body += bytes.slice(at, at + length);
    at += length;
    if (bytes.slice(at, at + 2) !== '\r\n') {
      faults.push('chunk without its end');
      return unfinished(body);
    }
    at += 2;
  }
}

function readTrailers(bytes: string, at: number, body: string, faults: string[]): Body {
  if (bytes.startsWith('\r\n', at)) return { body, trailers: [], complete: true, end: at + 2 };
  const end = bytes.indexOf('\r\n\r\n', at);
  if (end < 0) return { body, trailers: [], complete: false, end: bytes.length };
  const text = bytes.slice(at, end);
  if (/[\0\r\n]/.test(text.replaceAll('\r\n', ''))) faults.push('bare CR, bare LF or NUL in the trailers');
  return { body, trailers: readFields(text.split('\r\n'), faults), complete: true, end: end + 4 };
}
