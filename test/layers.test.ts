import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { faultsOf, importsOf, withoutComments } from './layers.ts';

const SRC = fileURLToPath(new URL('../src/', import.meta.url));

t.test('every source keeps to its layer and uses no footgun', async t => {
  const sources = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter(path =>
    path.endsWith('.ts'),
  );
  t.ok(sources.length > 2, 'sources are found');
  const faults = sources.flatMap(path => faultsOf(path, readFileSync(SRC + path, 'utf8')));
  t.equal(faults.join('\n'), '');
});

t.test('an import between libraries is named, with what is allowed', async t => {
  t.same(faultsOf('policy/decide.ts', "import { originate } from '../net/tls.ts';\n"), [
    "src/policy/decide.ts must not import '../net/tls.ts': policy may import errors",
  ]);
});

t.test('upward, sideways and outward imports are faults', async t => {
  const forbidden = [
    ['net/tls.ts', "import { judge } from '../identity/peer.ts';"],
    ['net/tls.ts', "import type { Peer } from '../identity/peer.ts';"],
    ['http/reply.ts', "export { x } from '../proxy/inbound.ts';"],
    ['proxy/inbound.ts', "const app = await import('../app.ts');"],
    ['worker.ts', "import { serve } from './admin/server.ts';"],
    ['proxy/inbound.ts', "import { serve } from '../admin/server.ts';"],
    ['cli/check.ts', "import { serve } from '../admin/server.ts';"],
    ['policy/match.ts', "import { DEFAULT } from '../config/resources.ts';"],
    ['messages.ts', "import { Connections } from './proxy/connections.ts';"],
    ['errors.ts', "import { log } from './telemetry/log.ts';"],
    ['app.ts', "import { certificate } from '../test/certificates.ts';"],
    ['proxy/inbound.ts', "import { Socket } from 'node:net';"],
    ['proxy/inbound.ts', "import { type Socket } from 'node:net';"],
    ['identity/dev-ca.ts', "import * as x509 from '@peculiar/x509';"],
    ['telemetry/trace.ts', "import { NodeSDK } from '@opentelemetry/sdk-node';"],
  ] as const;
  for (const [path, source] of forbidden) t.equal(faultsOf(path, source).length, 1, `${path}: ${source}`);
});

t.test('imports downward, of types of config, and inside a layer pass', async t => {
  const allowed = [
    ['main.ts', "const { runCheck } = await import('./cli/check.ts');"],
    ['app.ts', "import { serve } from './admin/server.ts';"],
    [
      'proxy/inbound.ts',
      "import { decideRequest } from '../policy/decide.ts';\nimport { x } from '../config/mesh.ts';",
    ],
    [
      'policy/match.ts',
      "import type { Rule } from '../config/resources.ts';\nimport { y } from './decide.ts';",
    ],
    ['proxy/inbound.ts', "import type { Socket } from 'node:net';"],
    ['messages.ts', "import type { Counts } from './telemetry/counts.ts';"],
    ['worker.ts', "import type { ToWorker } from './messages.ts';"],
    ['net/listen.ts', "import net from 'node:net';"],
    ['identity/dev-ca.ts', "const x509 = await import('@peculiar/x509');"],
    ['cli/version.ts', "import manifest from '../../package.json' with { type: 'json' };"],
  ] as const;
  for (const [path, source] of allowed) t.same(faultsOf(path, source), [], `${path}: ${source}`);
});

t.test('a footgun is named with its line and its reason', async t => {
  t.same(faultsOf('net/tls.ts', '\nconst s = new TLSSocket(raw, { isServer: true });\n'), [
    'src/net/tls.ts:2 has `new TLSSocket(`: does not verify the client certificate on the server side',
  ]);
  const forbidden = [
    ['app.ts', 'process.exit(1);'],
    ['app.ts', 'const line = `home $' + '{process.env.HOME}`;'],
    ['app.ts', 'const home = process.env.HOME;'],
    ['proxy/inbound.ts', "console.log('here');"],
    ['admin/server.ts', "process.stdout.write('x');"],
    ['net/tls.ts', 'const x = y as any;'],
    ['net/tls.ts', 'function f(x: any) {}'],
    ['net/tls.ts', 'const m = new Map<string, any>();'],
  ] as const;
  for (const [path, source] of forbidden) t.equal(faultsOf(path, source).length, 1, `${path}: ${source}`);
});

t.test('a footgun has its right place, and words in comments and strings are free', async t => {
  const allowed = [
    ['main.ts', 'process.exit(code);'],
    ['config/environment.ts', 'const home = process.env.HOME;'],
    ['cli/check.ts', "process.stdout.write('x');"],
    ['net/tls.ts', '// new TLSSocket(raw) would not verify\n/* process.exit(1) */'],
    ['app.ts', "const reason = 'process.exit(1) is for main: any';"],
    ['net/tls.ts', 'const line = `refused: any of them`;'],
    ['policy/match.ts', 'const any = 1;\nreturn { any: 2, both: any || one };'],
  ] as const;
  for (const [path, source] of allowed) t.same(faultsOf(path, source), [], `${path}: ${source}`);
});

t.test('a name that says nothing is a fault', async t => {
  for (const path of [
    'net/utils.ts',
    'net/helpers.ts',
    'http/common.ts',
    'policy/types.ts',
    'net/camelCase.ts',
    'tools/x.ts',
  ]) {
    t.equal(faultsOf(path, '').length, 1, path);
  }
});

t.test('imports are read in every form', async t => {
  const code = withoutComments(`
import a from 'a';
import {
  b,
  type B,
} from './b.ts';
import type { C } from './c.ts';
import 'd';
export * from './e.ts';
export type { F } from './f.ts';
// import g from 'g';
const h = await import('h');
type I = typeof import('i');
const url = 'http://import/x'; // not a comment before this one
`);
  t.same(
    importsOf(code).map(one => `${one.kind} ${one.specifier}`),
    ['value a', 'value ./b.ts', 'type ./c.ts', 'value d', 'value ./e.ts', 'type ./f.ts', 'lazy h', 'type i'],
  );
});
