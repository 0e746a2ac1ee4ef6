/**
 * Outrider against node:http (llhttp, strict), on generated and hand-written messages: what both accept means the same;
 * what Outrider sends on, node reads as exactly that; and how the bytes were cut changes nothing. DIFFERENTIAL_RUNS and
 * DIFFERENTIAL_SEED make it a longer hunt.
 */
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { requestDisagreements, responseDisagreements, upstreamFaults } from './agreement.ts';

import { loadCases } from './case-runner.ts';
import { NEXT_REQUEST, requests, responses } from './message-generator.ts';
import { nodeReadsRequests } from './node-reading.ts';
import { essence, type Passage, passRequests, passResponse } from './passage.ts';
import { readResponses } from './strict-messages.ts';

t.setTimeout(120_000);

const RUNS = Number(process.env.DIFFERENTIAL_RUNS ?? 2_500);
const SEED = Number(process.env.DIFFERENTIAL_SEED ?? 20_261_124);

/** Longer ones take their time byte by byte and say nothing more. */
const MAX_WRITTEN = 400;

const POST = 'POST /p HTTP/1.1\r\nHost: a\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;

/** What generators and the case file have not: framing inside bodies, many chunks, much behind each other. */
const WRITTEN_REQUESTS = [
  `${CHUNKED}1\r\na\r\n2\r\nbc\r\n0003\r\ndef\r\nA;x="\r"\r\n0123456789\r\n0\r\n\r\n${NEXT_REQUEST}`,
  `${CHUNKED}1a\r\n0\r\n\r\n${NEXT_REQUEST.slice(0, 21)}\r\n0\r\n\r\n${NEXT_REQUEST}`,
  `${CHUNKED}1;a=b;c="d\te"\r\nx\r\n0;last\r\nX-A: 1\r\nx-b:\t2\t\r\nX-A: 3\r\n\r\n${NEXT_REQUEST}`,
  `${CHUNKED}0\r\n\r\n${CHUNKED}0\r\n\r\n${CHUNKED}1\r\na\r\n0\r\n\r\n${NEXT_REQUEST}`,
  `${POST}Content-Length: ${NEXT_REQUEST.length}\r\n\r\n${NEXT_REQUEST}${NEXT_REQUEST}`,
  `${POST}Content-Length: 0\r\n\r\n\r\n\r\n${NEXT_REQUEST}`,
  `${POST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello${NEXT_REQUEST}`,
  `${NEXT_REQUEST.repeat(8)}`,
  `${NEXT_REQUEST}GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n${NEXT_REQUEST}GET / HTTP/1.0\r\n\r\n${NEXT_REQUEST}`,
  `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n${NEXT_REQUEST}`,
  `GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc${NEXT_REQUEST}`,
  `HEAD / HTTP/1.1\r\nHost: a\r\n\r\n${NEXT_REQUEST}`,
  `GET / HTTP/1.1\r\nHost: a\r\n${'X-Long: '.padEnd(120, 'x')}\r\n${'Y: z\r\n'.repeat(20)}\r\n${NEXT_REQUEST}`,
];

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

/** How the bytes are cut: whole, byte by byte, in two. */
function byteByByte(text: string): Buffer[] {
  return [...bytes(text)].map(byte => Buffer.of(byte));
}

function inTwo(text: string, at: number): Buffer[] {
  return [bytes(text.slice(0, at)), bytes(text.slice(at))];
}

async function requestFaults(text: string): Promise<{ passage: Passage; faults: string[]; both: number }> {
  const passage = await passRequests([bytes(text)]);
  const node = await nodeReadsRequests(bytes(text));
  const faults = [
    ...requestDisagreements(passage, node),
    ...(await upstreamFaults(passage)),
    ...refusalFaults(passage),
  ];
  return { passage, faults, both: Math.min(passage.heads.length, node.messages.length) };
}

/** After a refusal the connection is over: nothing behind it was read. */
function refusalFaults(passage: Passage): string[] {
  const at = passage.downstream.search(/HTTP\/1\.1 (?:400|431) /);
  if (at < 0) return [];
  const faults: string[] = [];
  if (!passage.closed) faults.push('a refusal left the connection open');
  if (passage.downstream.indexOf('HTTP/1.1', at + 1) >= 0)
    faults.push('something was answered after a refusal');
  return faults;
}

async function cutFaults(whole: Passage, pieces: readonly Buffer[], pass = passRequests): Promise<string[]> {
  const cut = await pass(pieces);
  const [a, b] = [JSON.stringify(essence(whole)), JSON.stringify(essence(cut))];
  if (a !== b) return [`cut in ${pieces.map(piece => piece.length)}: ${b} in place of ${a}`];
  // Where nothing was refused not a byte may differ, but for a body that becomes chunks as it comes.
  const text = Buffer.concat(pieces).toString('latin1');
  const asItComes = readResponses(text, [], true).messages.some(({ framing }) => framing === 'close');
  const sound = !asItComes && !/\r\n(?:date|grpc-status): /.test(whole.downstream);
  const same =
    JSON.stringify(whole.upstream) === JSON.stringify(cut.upstream) && whole.downstream === cut.downstream;
  return sound && !same ? [`cut in ${pieces.map(piece => piece.length)}: other bytes left`] : [];
}

/** Runs a property and reports its smallest counterexample as one failed check. */
async function hold<T>(
  t: Test,
  values: fc.Arbitrary<T>,
  runs: number,
  faultsOf: (value: T) => Promise<string[]>,
): Promise<void> {
  const property = fc.asyncProperty(values, async value => {
    const faults = await faultsOf(value);
    if (faults.length > 0) throw new Error(faults.join('\n'));
  });
  const result = await fc.check(property, { numRuns: runs, seed: SEED, endOnFailure: false });
  const why = result.failed
    ? { message: JSON.stringify(result.counterexample), seed: SEED, faults: String(result.errorInstance) }
    : null;
  t.same(why, null);
}

t.test('generated requests', async t => {
  let both = 0;
  let refused = 0;
  const cuts = fc.double({ min: 0, max: 1, noNaN: true });
  await hold(t, fc.tuple(requests, cuts), RUNS, async ([text, at]) => {
    const { passage, faults, both: agreed } = await requestFaults(text);
    both += agreed;
    refused += passage.refused.length;
    faults.push(...(await cutFaults(passage, inTwo(text, Math.floor(at * text.length)))));
    faults.push(...(await cutFaults(passage, byteByByte(text))));
    return faults;
  });
  t.ok(both > RUNS / 4, `${both} requests that both accept`);
  t.ok(refused > RUNS / 10, `${refused} refused`);
});

t.test('generated responses', async t => {
  let passed = 0;
  const values = fc.tuple(
    responses,
    fc.constantFrom('GET', 'GET', 'HEAD'),
    fc.boolean(),
    fc.double({ min: 0, max: 1, noNaN: true }),
  );
  await hold(t, values, RUNS, async ([text, method, ended, at]) => {
    const request = `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`;
    const pass = (pieces: readonly Buffer[]): Promise<Passage> => passResponse(request, pieces, ended);
    const passage = await pass([bytes(text)]);
    if (/^HTTP\/1\.1 [234]/m.test(passage.downstream)) passed++;
    return [
      ...(await responseDisagreements(bytes(text), method, ended, passage)),
      ...(await cutFaults(passage, inTwo(text, Math.floor(at * text.length)), pass)),
      ...(await cutFaults(passage, byteByByte(text), pass)),
    ];
  });
  t.ok(passed > RUNS / 4, `${passed} passed`);
});

t.test('generated requests cut at every byte', async t => {
  await hold(t, requests, Math.ceil(RUNS / 100), async text => {
    const whole = await passRequests([bytes(text)]);
    const faults: string[] = [];
    for (let at = 1; at < text.length; at++) faults.push(...(await cutFaults(whole, inTwo(text, at))));
    return faults;
  });
});

t.test('generated responses cut at every byte', async t => {
  await hold(t, responses, Math.ceil(RUNS / 100), async text => {
    const pass = (pieces: readonly Buffer[]): Promise<Passage> =>
      passResponse('GET / HTTP/1.1\r\nHost: a\r\n\r\n', pieces, true);
    const whole = await pass([bytes(text)]);
    const faults: string[] = [];
    for (let at = 1; at < text.length; at++) faults.push(...(await cutFaults(whole, inTwo(text, at), pass)));
    return faults;
  });
});

t.test('the case file, and messages written by hand, cut at every byte', async t => {
  const cases = loadCases().filter(
    one => one.raw.length < MAX_WRITTEN && !/CONNECT /.test(one.raw + one.request),
  );
  const written = [...WRITTEN_REQUESTS, ...cases.filter(one => one.kind === 'request').map(one => one.raw)];
  for (const text of written) {
    const { passage, faults } = await requestFaults(text);
    for (let at = 1; at < text.length; at++) faults.push(...(await cutFaults(passage, inTwo(text, at))));
    faults.push(...(await cutFaults(passage, byteByByte(text))));
    t.same(faults, [], JSON.stringify(text).slice(0, 120));
  }
  for (const { id, raw, request = '' } of cases.filter(one => one.kind === 'response')) {
    const pass = (pieces: readonly Buffer[]): Promise<Passage> => passResponse(request, pieces, true);
    const passage = await pass([bytes(raw)]);
    const faults = await responseDisagreements(bytes(raw), request.split(' ')[0] ?? '', true, passage);
    for (let at = 1; at < raw.length; at++) faults.push(...(await cutFaults(passage, inTwo(raw, at), pass)));
    t.same(faults, [], id);
  }
});
