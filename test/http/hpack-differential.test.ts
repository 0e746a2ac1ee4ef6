/** Our HPACK against that of node:http2 (nghttp2): generated header lists, both directions, with tables of all sizes. */
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import type { FieldList } from '../../src/http/field-list.ts';
import { NEVER_INDEXED } from '../../src/http/h2-field-kind.ts';
import { INDEX, NEVER } from '../../src/http/hpack-encoder.ts';
import type { Field } from './hpack-blocks.ts';
import { headerLists, type Sent } from './hpack-lists.ts';
import { HpackPeer } from './hpack-peer.ts';

const RUNS = 80;
const SEED = 9113;

/** Sizes of the two tables: what node allows us, what we allow node; and what node allows later. */
const TABLES = [
  { node: 4096, ours: 4096, later: 100 },
  { node: 0, ours: 0, later: 65_536 },
  { node: 200, ours: 100, later: 0 },
  { node: 65_536, ours: 65_536, later: 1000 },
] as const;

const REQUEST: readonly Sent[] = [
  [':method', 'GET', INDEX],
  [':scheme', 'http', INDEX],
  [':authority', 'app.test:8080', INDEX],
  [':path', '/p?q=1', INDEX],
];

const plain = (fields: readonly Sent[]): readonly Field[] => fields.map(([name, value]) => [name, value]);
const received = (list: FieldList): readonly Field[] =>
  list.names.map((name, i) => [name, list.values[i] as string]);
const neverOf = (list: FieldList): string[] =>
  list.names.filter((_, i) => ((list.kinds[i] as number) & NEVER_INDEXED) !== 0);

/** node's rawHeaders as pairs. */
function pairs(raw: readonly string[]): readonly Field[] {
  return raw.flatMap((name, i) => (i % 2 === 0 ? [[name, raw[i + 1] as string] as const] : []));
}

/** As node takes header fields: one value a name, sensitive names apart. */
function asObject(fields: readonly Sent[]): http2.OutgoingHttpHeaders {
  const object: http2.OutgoingHttpHeaders = {};
  for (const [name, value] of fields) object[name] = value;
  object[http2.sensitiveHeaders as unknown as string] = [
    ...new Set(fields.filter(([, , how]) => how === NEVER).map(([name]) => name)),
  ];
  return object;
}

const sensitive = (headers: http2.IncomingHttpHeaders): string[] =>
  (headers as { [http2.sensitiveHeaders]?: string[] })[http2.sensitiveHeaders] ?? [];

/** Fields whose names differ. */
const distinct = (fields: readonly Sent[]): readonly Sent[] => [
  ...new Map(fields.map(f => [f[0], f])).values(),
];

for (const { node, ours, later } of TABLES) {
  const sizes = `node's table ${node} bytes, ours ${ours}`;
  const lists = fc.sample(headerLists, { numRuns: RUNS, seed: SEED + node });
  const answers = fc.sample(headerLists, { numRuns: RUNS, seed: SEED + ours + 1 }).map(distinct);

  t.test(`a server of node:http2 reads our requests, and we its responses: ${sizes}`, async t => {
    const server = http2.createServer({ settings: { headerTableSize: node } });
    const seen: { fields: readonly Field[]; never: string[] }[] = [];
    server.on('stream', (stream: http2.ServerHttp2Stream, headers, _flags, raw: string[]) => {
      seen.push({ fields: pairs(raw), never: sensitive(headers) });
      stream.respond({ ':status': 200, ...asObject(answers[seen.length - 1] as Sent[]) }, {
        sendDate: false,
        endStream: true,
      } as http2.ServerStreamResponseOptions);
      if (seen.length === RUNS / 2) stream.session?.settings({ headerTableSize: later });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
    const peer = new HpackPeer(socket, 'client', ours);
    await peer.settings();
    for (const [i, fields] of lists.entries()) {
      const changed = i === RUNS / 2 - 1 ? peer.settings() : null;
      peer.send(2 * i + 1, [...REQUEST, ...fields]);
      const { list } = await peer.next();
      await changed;
      const want = plain([...REQUEST, ...fields]);
      const never = fields.filter(([, , how]) => how === NEVER).map(([name]) => name);
      t.same(seen[i]?.fields, want, `request ${i}`);
      t.same(new Set(seen[i]?.never), new Set(never));
      t.same(received(list), [[':status', '200'], ...plain(answers[i] as Sent[])], `response ${i}`);
      t.same(
        new Set(neverOf(list)),
        new Set((answers[i] as Sent[]).filter(f => f[2] === NEVER).map(f => f[0])),
      );
    }
    socket.destroy();
    server.close();
  });

  t.test(`we read the requests of a client of node:http2, and it our responses: ${sizes}`, async t => {
    const sockets: net.Socket[] = [];
    const server = net.createServer(socket => sockets.push(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
      settings: { headerTableSize: node },
    });
    await once(server, 'connection');
    const peer = new HpackPeer(sockets[0] as net.Socket, 'server', ours);
    await peer.settings();
    for (const [i, fields] of answers.entries()) {
      const request = client.request({ ':authority': 'a', ':path': `/${i % 7}`, ...asObject(fields) });
      const responded = once(request, 'response');
      const { stream, list } = await peer.next();
      t.same(received(list).slice(4), plain(fields), `request ${i}`);
      t.same(new Set(neverOf(list)), new Set(fields.filter(f => f[2] === NEVER).map(f => f[0])));
      const answer = lists[i] as readonly Sent[];
      peer.send(stream, [[':status', '200', INDEX], ...answer]);
      const [headers, , raw] = await responded;
      t.same(pairs(raw), [[':status', '200'], ...plain(answer)], `response ${i}`);
      t.same(new Set(sensitive(headers)), new Set(answer.filter(f => f[2] === NEVER).map(f => f[0])));
      request.resume();
      await once(request, 'close');
      if (i === RUNS / 2) {
        const changed = peer.settings();
        client.settings({ headerTableSize: later });
        await changed;
      }
    }
    client.destroy();
    server.close();
  });
}
