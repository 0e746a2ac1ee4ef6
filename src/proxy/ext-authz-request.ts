/**
 * The CheckRequest of envoy.service.auth.v3 (attribute_context.proto) as Envoy fills it for Istio: peers, request,
 * time. Written field by field, so that no reflection is loaded.
 */
import { isUtf8 } from 'node:buffer';
import type { Writer } from 'protobufjs';
import { isTold, joinedFields } from './ext-authz-fields.ts';
import type { AuthzConnection, AuthzQuestion } from './ext-authz-question.ts';
import { bytes, varint } from './ext-authz-wire.ts';

/** Envoy's own word on the body in the check; a client's is never told. */
export const PARTIAL_BODY = 'x-envoy-auth-partial-body';

type Message = (writer: Writer) => void;

/** The check of one HTTP request. `packAsBytes`: the body goes as bytes; else as text, in which what is not UTF-8 is `!`. */
export function writeHttpCheck(writer: Writer, question: AuthzQuestion, packAsBytes: boolean): Uint8Array {
  const { connection } = question;
  message(writer, 1, attributes => {
    message(attributes, 1, peer => writeSource(peer, connection));
    message(attributes, 2, peer => writeDestination(peer, connection, null));
    message(attributes, 4, request => {
      message(request, 1, time => writeTime(time, Date.now()));
      message(request, 2, http => writeHttp(http, question, packAsBytes));
    });
    writeTlsSession(attributes, connection);
  });
  return writer.finish();
}

/** The check of a TCP connection. */
export function writeTcpCheck(writer: Writer, connection: AuthzConnection): Uint8Array {
  message(writer, 1, attributes => {
    message(attributes, 1, peer => writeSource(peer, connection));
    message(attributes, 2, peer => writeDestination(peer, connection, connection.sni));
    writeTlsSession(attributes, connection);
  });
  return writer.finish();
}

function writeSource(writer: Writer, { sourceIp, sourcePort, principal }: AuthzConnection): void {
  message(writer, 1, address => writeAddress(address, sourceIp, sourcePort));
  if (principal !== null) text(writer, 4, principal);
}

function writeDestination(writer: Writer, connection: AuthzConnection, service: string | null): void {
  const { destinationIp, destinationPort, localPrincipal } = connection;
  message(writer, 1, address => writeAddress(address, destinationIp, destinationPort));
  if (service !== null) text(writer, 2, service);
  if (localPrincipal !== null) text(writer, 4, localPrincipal);
}

/** envoy.config.core.v3.Address with a TCP socket_address. */
function writeAddress(writer: Writer, ip: string, port: number): void {
  message(writer, 1, socket => {
    text(socket, 2, ip);
    socket.uint32(varint(3)).uint32(port);
  });
}

function writeTime(writer: Writer, now: number): void {
  writer.uint32(varint(1)).int64(Math.floor(now / 1000));
  writer.uint32(varint(2)).int32((now % 1000) * 1_000_000);
}

function writeTlsSession(writer: Writer, { sni }: AuthzConnection): void {
  if (sni !== null) message(writer, 12, session => text(session, 1, sni));
}

function writeHttp(writer: Writer, question: AuthzQuestion, packAsBytes: boolean): void {
  const { head, connection, body } = question;
  const scheme = connection.tlsVersion === null ? 'http' : 'https';
  text(writer, 1, question.requestId);
  text(writer, 2, head.method);
  header(writer, ':authority', head.host);
  header(writer, ':method', head.method);
  header(writer, ':path', head.target);
  header(writer, ':scheme', scheme);
  for (const [name, value] of joinedFields(head.headerLines)) {
    if (name !== 'host' && name !== PARTIAL_BODY && isTold(name)) header(writer, name, value);
  }
  if (body !== null) header(writer, PARTIAL_BODY, String(question.bodyPartial));
  text(writer, 4, head.target);
  text(writer, 5, head.host);
  text(writer, 6, scheme);
  if (body !== null) writer.uint32(varint(9)).int64(body.length);
  text(writer, 10, question.protocol);
  if (body === null || body.length === 0) return;
  if (packAsBytes) writer.uint32(bytes(12)).bytes(body);
  else writer.uint32(bytes(11)).bytes(asUtf8(body));
}

/** One entry of the map `headers`. */
function header(writer: Writer, name: string, value: string): void {
  message(writer, 3, entry => {
    text(entry, 1, name);
    text(entry, 2, value);
  });
}

function message(writer: Writer, field: number, write: Message): void {
  writer.uint32(bytes(field)).fork();
  write(writer);
  writer.ldelim();
}

/** Latin1 text as it came over the wire; a proto3 string has to be UTF-8. */
function text(writer: Writer, field: number, value: string): void {
  if (value !== '') writer.uint32(bytes(field)).bytes(asUtf8(Buffer.from(value, 'latin1')));
}

/** As Envoy's sanitizeUtf8String: every byte that is in no UTF-8 sequence becomes `!`. */
export function asUtf8(content: Buffer): Buffer {
  if (isUtf8(content)) return content;
  const clean = Buffer.from(content);
  for (let at = 0; at < clean.length; ) {
    const length = sequenceLength(clean[at] as number);
    if (length > 0 && at + length <= clean.length && isUtf8(clean.subarray(at, at + length))) at += length;
    else clean[at++] = 0x21;
  }
  return clean;
}

/** Of the sequence that begins with this byte (RFC 3629 3); 0 = none does. */
function sequenceLength(first: number): number {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return 2;
  if (first >= 0xe0 && first < 0xf0) return 3;
  return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}
