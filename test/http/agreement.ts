/** Whether Outrider and node:http mean the same by the same bytes; every difference in one line. */
import { type MessageHead, ParseFault, parseResponse, STRIDE } from '../../src/http/h1-parser.ts';
import { type NodeMessage, type NodeReading, nodeReadsRequests, nodeReadsResponse } from './node-reading.ts';
import { isOwnReply, type Passage } from './passage.ts';
import { type Message, readRequests, readResponses, statusOf } from './strict-messages.ts';

/** Trailers that a proxy may keep to itself (RFC 9110 6.5.1). */
const KEPT_BACK =
  /^(?:host|content-|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|cookie|set-cookie|cache-control|max-forwards|forwarded|x-request-id|traceparent|x[-_]forwarded|proxy-|authorization|http2-settings|x-envoy-)/i;

/** Compares how both read the requests that a client sent. */
export function requestDisagreements(passage: Passage, node: NodeReading): string[] {
  const found: string[] = [];
  const sent = passage.upstream.flatMap(text => readRequests(text).messages);
  const taken = Math.min(passage.heads.length, node.messages.length);
  for (let i = 0; i < taken; i++) {
    const [head, theirs, ours] = [passage.heads[i], node.messages[i], sent[i]];
    if (head === undefined || theirs === undefined) break;
    const refusedLater = node.error !== null && !theirs.complete;
    const brokenOff = ours === undefined || (!ours.complete && passage.closed);
    compare(found, `request ${i}: start`, `${head.method} ${head.target}`, theirs.start);
    compare(found, `request ${i}: version`, `1.${head.minor}`, theirs.version);
    compare(found, `request ${i}: fields`, fieldsOf(head), theirs.fields);
    if (refusedLater || brokenOff) break;
    if (ours.complete !== theirs.complete)
      found.push(`request ${i}: whole to ${ours.complete ? 'Outrider' : 'node'} only`);
    else compareBodies(found, `request ${i}`, ours, theirs);
  }
  const refused = passage.refused.length > 0 || passage.closed;
  if (node.messages.length > passage.heads.length && !refused)
    found.push('node saw a request that Outrider did not');
  const ended = node.error !== null || endsConnection(node.messages.at(-1));
  if (passage.heads.length > node.messages.length && !ended)
    found.push('Outrider saw a request that node did not');
  return found;
}

/** node closes after these, or reads nothing behind an upgrade that it does not make. */
function endsConnection(message: Pick<NodeMessage, 'fields' | 'version'> | undefined): boolean {
  if (message === undefined) return false;
  if (message.fields.some(([name]) => name.toLowerCase() === 'upgrade')) return true;
  const options = message.fields
    .filter(([name]) => name.toLowerCase() === 'connection')
    .map(([, value]) => value);
  if (/\bclose\b/i.test(options.join())) return true;
  return message.version === '1.0' && !/keep-alive/i.test(options.join());
}

/** node must read what the app got as the same messages, one after the other. */
export async function upstreamFaults(passage: Passage): Promise<string[]> {
  const found: string[] = [];
  for (const text of passage.upstream) {
    const { messages, rest } = readRequests(text);
    for (const message of messages) found.push(...message.faults.map(fault => `sent upstream: ${fault}`));
    const node = await nodeReadsRequests(Buffer.from(text, 'latin1'));
    if (node.error !== null) found.push(`sent upstream: node refuses it, ${node.error}`);
    const offered = node.messages.at(-1)?.fields.some(([name]) => name === 'Upgrade') ?? false;
    if (node.messages.length !== messages.length && !offered)
      found.push(`sent upstream: node reads ${node.messages.length} of ${messages.length}`);
    for (const [i, ours] of messages.entries()) {
      const theirs = node.messages[i];
      if (theirs === undefined) break;
      compare(found, `sent upstream: wholeness of ${i}`, ours.complete, theirs.complete);
      if (ours.complete) compareBodies(found, `sent upstream: ${i}`, ours, theirs);
    }
    if (rest !== '') found.push(`sent upstream: ${JSON.stringify(rest.slice(0, 60))} belongs to no request`);
  }
  const whole = passage.upstream.flatMap(text => readRequests(text).messages).length;
  if (whole > passage.heads.length)
    found.push(`sent upstream: ${whole} requests, ${passage.heads.length} were decided on`);
  return found;
}

/** Compares how both read what an app answered to one request with `method`, and how node reads what the client got. */
export async function responseDisagreements(
  raw: Buffer,
  method: string,
  ended: boolean,
  passage: Passage,
): Promise<string[]> {
  const found: string[] = [];
  const theirs = await nodeReadsResponse(raw, method, ended);
  const { messages, rest } = readResponses(passage.downstream, [method], passage.closed);
  const finals = messages.filter(message => statusOf(message) >= 200);
  const [ours] = finals;
  for (const message of messages) found.push(...message.faults.map(fault => `sent downstream: ${fault}`));
  if (finals.length > 1 || rest !== '') found.push('sent downstream: more than one response');
  if (ours === undefined) return found;
  const said = await nodeReadsResponse(Buffer.from(passage.downstream, 'latin1'), method, passage.closed);
  const [seen] = said.messages;
  if (seen === undefined) found.push(`sent downstream: node refuses it, ${said.error}`);
  else {
    compare(found, 'sent downstream: wholeness', ours.complete && ours.faults.length === 0, seen.complete);
    compare(found, 'sent downstream: body', ours.body, seen.body);
  }
  const [meant] = theirs.messages;
  if (isOwnReply(ours) || meant === undefined) return found;
  compare(found, 'response: status', String(statusOf(ours)), meant.start.split(' ')[0]);
  if (theirs.error === null) compare(found, 'response: wholeness', ours.complete, meant.complete);
  if (!ours.complete || !meant.complete) return found;
  compareBodies(found, 'response', ours, meant);
  compareHeads(found, raw.toString('latin1'), method, meant);
  return found;
}

function compareHeads(found: string[], raw: string, method: string, theirs: NodeMessage): void {
  for (let at = 0; at < raw.length; ) {
    const end = raw.indexOf('\r\n\r\n', at) + 4;
    const head = parseResponse(raw.slice(at, end), method);
    if (head instanceof ParseFault) return;
    at = end;
    if (head.status < 200) continue;
    compare(found, 'response: start', `${head.status} ${head.reason}`, theirs.start);
    compare(found, 'response: fields', fieldsOf(head), theirs.fields);
    return;
  }
}

function compareBodies(found: string[], what: string, ours: Message, theirs: NodeMessage): void {
  compare(found, `${what}: body`, ours.body, theirs.body);
  const kept = theirs.trailers.filter(([name]) => !KEPT_BACK.test(name));
  compare(found, `${what}: trailers`, ours.trailers, kept);
}

function fieldsOf({ text, fields }: MessageHead): [string, string][] {
  const found: [string, string][] = [];
  for (let i = 0; i < fields.length; i += STRIDE)
    found.push([text.slice(fields[i], fields[i + 1]), text.slice(fields[i + 2], fields[i + 3])]);
  return found;
}

function compare(found: string[], what: string, ours: unknown, theirs: unknown): void {
  const [a, b] = [JSON.stringify(ours), JSON.stringify(theirs)];
  if (a !== b) found.push(`${what}: Outrider ${a}, node ${b}`);
}
