/** The programs of nghttp2 beside Outrider: a proxy on either side, two clients and a server. */
import { equal, match, ok } from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { accepts } from '../../bench/peers/launch.ts';
import { type IdentityPems, temporaryIdentity } from '../certificates.ts';
import { deadPort } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import type { Sidecar } from '../sidecar.ts';
import { ask, openSession, startEcho, useSession } from './http2-rows.ts';
import { HOST, HTTPBIN, inboundManifests, mesh, PORT, SLEEP, startOutrider } from './pair.ts';
import type { Row, Stage } from './stage.ts';

const READY_MS = 20_000;
const POLL_MS = 5;
const SHOWN = 8 * 1024; // characters
const LOAD = { requests: 3_000, connections: 4, streams: 50 } as const;
const UPLOADS = 30;

/** The version of the programs; null where one of them is not installed. */
export function nghttp2(): { readonly version: string } | null {
  const versions = ['nghttpx', 'nghttpd', 'nghttp', 'h2load'].map(
    name => /nghttp2\/(\S+)/.exec(spawnSync(name, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1],
  );
  const [version] = versions;
  return version === undefined || versions.includes(undefined) ? null : { version };
}

export const NGHTTP2_ROWS: readonly Row[] = [
  row('nghttpx', 'nghttpx → Outrider', 'mutual TLS, in front of an app that speaks HTTP/2', async stage => {
    const outrider = await startServer(stage, await startEcho(stage), 'STRICT');
    const to = `127.0.0.1,${outrider.ports.inbound};;proto=h2;tls`;
    const front = await startNghttpx(stage, to, ';no-tls', (await mesh()).sleep);
    await useSession(stage, front, new RegExp(`URI=${SLEEP}$`));
    const line = await outrider.access.take(l => l.path === '/first?x=1');
    equal(line.source_principal, SLEEP);
  }),
  row('nghttpx', 'Outrider → nghttpx', 'mutual TLS, from an app that speaks HTTP/2', async stage => {
    const back = `127.0.0.1,${await startEcho(stage)};;proto=h2`;
    const endpoint = await startNghttpx(stage, back, '', (await mesh()).httpbin);
    const outrider = await startClient(stage, endpoint);
    await useSession(stage, outrider.ports.outbound, /^nothing$/);
  }),
  row(
    'nghttpd',
    'Outrider → nghttpd',
    'mutual TLS, padded frames, trailers, ten streams at a time',
    async stage => {
      const outrider = await startClient(stage, await startNghttpd(stage));
      const session = openSession(stage, outrider.ports.outbound);
      const answers = await Promise.all(
        Array.from({ length: UPLOADS }, (_, i) =>
          ask(session, { ':method': 'POST', ':path': `/${i}` }, Buffer.alloc(50_000, `upload ${i} `)),
        ),
      );
      for (const [i, { headers, body, trailers }] of answers.entries()) {
        equal(headers[':status'], 200);
        ok(body.equals(Buffer.alloc(50_000, `upload ${i} `)));
        equal(trailers['x-end'], 'told');
      }
      equal((await ask(session, { ':path': '/file' })).body.toString(), 'a file\n');
      equal((await ask(session, { ':path': '/none' })).headers[':status'], 404);
    },
  ),
  row('nghttp', 'nghttp → Outrider', 'mutual TLS, priorities, padded uploads with trailers', async stage => {
    const outrider = await startServer(stage, await startEcho(stage), 'STRICT');
    const folder = temporaryIdentity(stage, (await mesh()).sleep);
    writeFileSync(join(folder, 'upload'), Buffer.alloc(50_000, 'upload '));
    const certificate = [`--cert=${join(folder, 'cert-chain.pem')}`, `--key=${join(folder, 'key.pem')}`];
    const upload = [
      '-d',
      join(folder, 'upload'),
      '-m',
      `${UPLOADS}`,
      '-b',
      '200',
      '--trailer',
      'x-end: told',
    ];
    const to = `https://127.0.0.1:${outrider.ports.inbound}/upload`;
    const said = await run(stage, 'nghttp', [
      '-ynv',
      ...certificate,
      ...upload,
      '-H',
      `:authority: ${HOST}`,
      to,
    ]);
    equal(said.match(/recv \(stream_id=\d+\) :status: 200/g)?.length, UPLOADS, said.slice(-2_000));
    equal(said.match(/recv \(stream_id=\d+\) x-back: told/g)?.length, UPLOADS);
    equal((await outrider.access.take(l => l.path === '/upload')).source_principal, SLEEP);
  }),
  row('h2load', 'h2load → Outrider', 'cleartext by prior knowledge, many streams', async stage => {
    const outrider = await startServer(stage, await startEcho(stage), 'PERMISSIVE');
    const { requests, connections, streams } = LOAD;
    const load = ['-n', `${requests}`, '-c', `${connections}`, '-m', `${streams}`];
    const said = await run(stage, 'h2load', [...load, `http://127.0.0.1:${outrider.ports.inbound}/load`]);
    match(said, new RegExp(`${requests} succeeded, 0 failed, 0 errored, 0 timeout`));
    match(said, new RegExp(`status codes: ${requests} 2xx`));
  }),
];

function row(peer: string, direction: string, what: string, run: Row['run']): Row {
  return { peer, protocol: 'HTTP/2', direction, what, run };
}

async function startServer(stage: Stage, app: number, mode: 'STRICT' | 'PERMISSIVE'): Promise<Sidecar> {
  return startOutrider(stage, {
    certs: temporaryIdentity(stage, (await mesh()).httpbin),
    app,
    manifests: inboundManifests(mode, mode === 'STRICT' ? { principal: SLEEP } : null),
    flags: ['--protocol', `${app}=http2`],
  });
}

async function startClient(stage: Stage, endpoint: number): Promise<Sidecar> {
  const to = { host: HOST, port: PORT, protocol: 'HTTP2', endpoints: [endpoint], policy: mutual(HTTPBIN) };
  const certs = temporaryIdentity(stage, (await mesh()).sleep);
  return startOutrider(stage, { certs, manifests: `kind: MeshConfig${service(to)}` });
}

/** @returns its port; `frontend` are parameters of it, else it is mutual TLS by `pems` */
async function startNghttpx(
  stage: Stage,
  backend: string,
  frontend: string,
  pems: IdentityPems,
): Promise<number> {
  const folder = temporaryIdentity(stage, pems);
  const [cert, key, root] = ['cert-chain.pem', 'key.pem', 'root-cert.pem'].map(file => join(folder, file));
  const port = await deadPort();
  const server = [`${key}`, `${cert}`, '--verify-client', `--verify-client-cacert=${root}`, '--no-ocsp'];
  // It knows no SPIFFE ID: it would look for a host's name in the server's certificate.
  const client = ['-k', `--client-cert-file=${cert}`, `--client-private-key-file=${key}`];
  const args = ['--conf=/dev/null', '--single-process', `--frontend=127.0.0.1,${port}${frontend}`];
  const tls = frontend === '' ? server : client;
  await startListening(stage, 'nghttpx', [...args, `--backend=${backend}`, ...tls], port);
  return port;
}

async function startNghttpd(stage: Stage): Promise<number> {
  const folder = temporaryIdentity(stage, (await mesh()).httpbin);
  writeFileSync(join(folder, 'file'), 'a file\n');
  const port = await deadPort();
  const how = ['-a', '127.0.0.1', '-d', folder, '-b', '100', '-m', '10', '--echo-upload', '-V'];
  const pems = [join(folder, 'key.pem'), join(folder, 'cert-chain.pem')];
  await startListening(stage, 'nghttpd', [...how, '--trailer', 'x-end: told', `${port}`, ...pems], port);
  return port;
}

/** Starts a program and waits until its port accepts; it is killed when the stage is left. */
async function startListening(stage: Stage, command: string, args: readonly string[], port: number) {
  const program = start(stage, command, args);
  const deadline = performance.now() + READY_MS;
  while (!(await accepts(port))) {
    if (program.child.exitCode !== null || performance.now() > deadline)
      throw new Error(`${command} did not come up: ${program.said()}`);
    await pause(POLL_MS);
  }
}

/** Runs a program to its end. @returns what it said; @throws Error when it fails */
async function run(stage: Stage, command: string, args: readonly string[]): Promise<string> {
  const { child, said } = start(stage, command, args);
  const [code] = await once(child, 'close');
  equal(code, 0, said());
  return said();
}

function start(stage: Stage, command: string, args: readonly string[]) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH } });
  const ended = once(child, 'close');
  ended.catch(() => {}); // a program that cannot be started
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', chunk => {
      text += chunk;
    });
  }
  stage.show(command, () => text.slice(-SHOWN));
  stage.teardown(async () => {
    child.kill('SIGKILL');
    await ended.catch(() => {});
  });
  return { child, said: () => text };
}
