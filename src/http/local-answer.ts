/** Answers of Outrider's own whose status, fields and body somebody else chose: a token's verdict, an external authorizer. */
import type { LocalAnswer, ResponseEdits } from './exchange.ts';
import { CONTENT_LENGTH, FIELD_CHAR, fieldCode, isEndToEnd, TCHAR } from './fields.ts';
import { reasonPhrase } from './reason-phrases.ts';
import { httpDate } from './reply.ts';

/** Longest grpc-message, in characters before they are encoded: it is a field, and fields have limits. */
const MAX_GRPC_MESSAGE = 1024;
/** What a caller's status becomes that is no final one. */
const NO_STATUS = 500;

/** How the answer goes out. */
interface Delivery {
  /** The request's content-type is application/grpc*: HTTP 200 with grpc-status and grpc-message. */
  readonly grpc: boolean;
  readonly method: string;
  readonly close: boolean;
  readonly edits: ResponseEdits | null;
}

/** A whole response: its head, and what follows it. */
export interface WrittenAnswer {
  readonly head: string;
  /** null = nothing. */
  readonly body: Buffer | null;
  readonly status: number;
}

/** Writes `answer`; text in it becomes UTF-8. */
export function writeAnswer(answer: LocalAnswer, delivery: Delivery): WrittenAnswer {
  return delivery.grpc ? grpcAnswer(answer, delivery) : httpAnswer(answer, delivery);
}

function grpcAnswer(answer: LocalAnswer, { close, edits }: Delivery): WrittenAnswer {
  const message = percentEncoded(answer.grpcMessage.slice(0, MAX_GRPC_MESSAGE));
  const status = `grpc-status: ${answer.grpcStatus}\r\n${message === '' ? '' : `grpc-message: ${message}\r\n`}`;
  const rest = linesOf(answer, name => !name.startsWith('grpc-') && name !== 'content-type', edits);
  const head = `HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n${status}content-length: 0\r\n${rest}`;
  return { head: ended(head, close), body: null, status: 200 };
}

function httpAnswer(answer: LocalAnswer, { method, close, edits }: Delivery): WrittenAnswer {
  const status = finalStatus(answer.status, method);
  // RFC 9110 15.3.5, 15.3.6, 15.4.5: none of these has content.
  const empty = status === 204 || status === 205 || status === 304;
  const body = empty ? null : bytesOf(answer.body);
  let head = `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n`;
  if (body !== null && !names(answer, edits, 'content-type')) head += 'content-type: text/plain\r\n';
  // RFC 9110 8.6: never with 204; with 304 it would be the length of what was not sent.
  if (status !== 204 && status !== 304) head += `content-length: ${body?.length ?? 0}\r\n`;
  head += linesOf(answer, () => true, edits);
  return { head: ended(head, close), body: method === 'HEAD' ? null : body, status };
}

/** A 1xx would be no answer, and a 2xx to CONNECT a tunnel. */
function finalStatus(status: number, method: string): number {
  if (!Number.isInteger(status) || status < 200 || status > 599) return NO_STATUS;
  return method === 'CONNECT' && status < 300 ? NO_STATUS : status;
}

function bytesOf(body: string | Buffer): Buffer | null {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  return bytes.length === 0 ? null : bytes;
}

/** Whether somebody has a word on that field. */
function names(answer: LocalAnswer, edits: ResponseEdits | null, name: string): boolean {
  return (
    edits?.remove.includes(name) === true || answer.headers.some(field => field[0].toLowerCase() === name)
  );
}

/** The date, the caller's fields and what the edits add; framing is never theirs. */
function linesOf(
  answer: LocalAnswer,
  allowed: (name: string) => boolean,
  edits: ResponseEdits | null,
): string {
  let lines = edits?.remove.includes('date') === true ? '' : `date: ${httpDate()}\r\n`;
  for (const [name, value] of answer.headers) {
    const lower = name.toLowerCase();
    if (!mayStand(lower) || !allowed(lower) || edits?.remove.includes(lower) === true) continue;
    lines += `${name}: ${fieldValue(value)}\r\n`;
  }
  return edits === null ? lines : lines + edits.added;
}

function mayStand(name: string): boolean {
  if (name === '' || name === 'date' || name === 'trailer') return false;
  for (let i = 0; i < name.length; i++) if (TCHAR[name.charCodeAt(i)] !== 1) return false;
  const code = fieldCode(name, 0, name.length);
  return code !== CONTENT_LENGTH && isEndToEnd(code);
}

/** RFC 9110 5.5: what may not stand in a value becomes a space. */
function fieldValue(value: string): string {
  let clean = '';
  for (const c of value) clean += FIELD_CHAR[c.charCodeAt(0)] === 1 ? c : ' ';
  return clean;
}

function ended(head: string, close: boolean): string {
  return close ? `${head}connection: close\r\n\r\n` : `${head}\r\n`;
}

/** gRPC over HTTP/2, "Responses": percent-encoded UTF-8 where it is not printable ASCII, or `%`. */
function percentEncoded(text: string): string {
  return text.replace(/[^\x20-\x24\x26-\x7e]+/g, run =>
    Buffer.from(run).reduce(
      (encoded, byte) => `${encoded}%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
      '',
    ),
  );
}
