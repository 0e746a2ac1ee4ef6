/** The answers that Outrider gives itself, as bytes, from the failure table (interface, section 4). */
import { FAILURES, type FailureCode } from '../errors.ts';
import type { LocalAnswer } from './exchange.ts';

/**
 * A whole response.
 * @param grpc the request's content-type is application/grpc*: HTTP 200 with grpc-status and grpc-message
 * @param bodiless the request was HEAD
 */
export function localResponse(options: {
  code: FailureCode;
  detail: string;
  grpc: boolean;
  bodiless: boolean;
  close: boolean;
}): { text: string; status: number; bodyBytes: number } {
  const failure = FAILURES[options.code];
  const body = bodyOf(options.code, options.detail);
  const connection = options.close ? 'connection: close\r\n' : '';
  if (options.grpc) {
    const text = `HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: ${failure.grpcStatus}\r\ngrpc-message: ${grpcMessage(body)}\r\ncontent-length: 0\r\ndate: ${httpDate()}\r\n${connection}\r\n`;
    return { text, status: 200, bodyBytes: 0 };
  }
  const head = `HTTP/1.1 ${failure.status} ${failure.reasonPhrase}\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\ndate: ${httpDate()}\r\n${connection}\r\n`;
  return options.bodiless
    ? { text: head, status: failure.status, bodyBytes: 0 }
    : { text: head + body, status: failure.status, bodyBytes: body.length };
}

/** The same as an answer whose fields can be edited. */
export function failureAnswer(code: FailureCode, detail: string, details: string): LocalAnswer {
  const { status, grpcStatus, flag } = FAILURES[code];
  const body = bodyOf(code, detail);
  return { status, headers: [], body, grpcStatus, grpcMessage: body, flag, details };
}

/** The same as trailers of a gRPC response that has begun: lines, each ending in CRLF. */
export function grpcTrailers(code: FailureCode, detail: string): string {
  return `grpc-status: ${FAILURES[code].grpcStatus}\r\ngrpc-message: ${grpcMessage(bodyOf(code, detail))}\r\n`;
}

function bodyOf(code: FailureCode, detail: string): string {
  return asciiOnly(FAILURES[code].body.replace('%s', () => detail));
}

/** Details may carry a peer's words: nothing but printable ASCII leaves. */
function asciiOnly(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 512);
}

/** gRPC over HTTP/2, "Responses": percent-encoded where it is not printable ASCII, or `%`. */
function grpcMessage(text: string): string {
  return text.replace(/%/g, '%25');
}

let dateSecond = 0;
let dateText = '';

/** RFC 9110 6.6.1, made once a second. */
export function httpDate(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
