import t from 'tap';
import { routingCommands } from '../../src/net/route-netlink.ts';
import { temporaryFolder } from '../certificates.ts';
import { type Host, missingForHosts, startHosts } from './hosts.ts';

t.setTimeout(60_000);

const skip = missingForHosts() ?? false;
const MODULE = new URL('../../src/net/route-netlink.ts', import.meta.url).href;
const ROUTE = { mark: 1337, table: 133 };

type Call = readonly [does: 'addMarkedRoute' | 'removeMarkedRoute', family: 4 | 6];

/** @returns what the calls threw, a line each */
async function calls(host: Host, list: readonly Call[], launcher: readonly string[] = []): Promise<string> {
  const program = `
import * as route from ${JSON.stringify(MODULE)};
for (const [does, family] of ${JSON.stringify(list)}) {
  try { route[does]({ ...${JSON.stringify(ROUTE)}, family }); } catch (error) { console.log(error.message); }
}`;
  const node = [process.execPath, '--input-type=module', '-e', program];
  const { code, stdout, stderr } = await host.run([...launcher, ...node]);
  t.same({ code, stderr }, { code: 0, stderr: '' });
  return stdout;
}

async function seen(host: Host): Promise<string> {
  let all = '';
  for (const family of ['-4', '-6']) {
    all += await host.must('ip', family, 'rule', 'list');
    // Without a table it fails.
    all += (await host.run(['ip', family, 'route', 'show', 'table', String(ROUTE.table)])).stdout;
  }
  return all;
}

const BOTH = [4, 6] as const;

t.test('marked packets are led to this host, as ip rule and ip route would', { skip }, async t => {
  const { client, server } = await startHosts(t, temporaryFolder(t));
  const before = await seen(client);
  for (const family of ['-4', '-6']) {
    const route = { ...ROUTE, family: family === '-4' ? 4 : 6 } as const;
    for (const command of routingCommands(route)) await server.must(...command.split(' '));
  }
  const wanted = await seen(server);
  const add = BOTH.map((family): Call => ['addMarkedRoute', family]);
  const remove = BOTH.map((family): Call => ['removeMarkedRoute', family]);

  t.equal(await calls(client, remove), '', 'nothing to remove');
  t.equal(await seen(client), before);
  t.equal(await calls(client, add), '');
  t.equal(await seen(client), wanted);
  t.equal(await calls(client, add), '', 'again');
  t.equal(await seen(client), wanted);
  t.equal(await calls(client, remove), '');
  t.equal(await seen(client), before);

  t.equal(await calls(server, remove), '', 'what ip made');
  t.equal(await seen(server), before);
});

t.test('only its own is taken away', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  await client.must('ip', 'rule', 'add', 'fwmark', '1338', 'lookup', '133');
  await client.must('ip', 'rule', 'add', 'fwmark', '1337', 'lookup', '134');
  await client.must('ip', 'route', 'add', 'default', 'via', '10.99.0.2', 'table', '133');
  const before = await seen(client);
  t.equal(await calls(client, [['removeMarkedRoute', 4]]), '');
  t.equal(await seen(client), before);
});

t.test('who may not change routes is told what is missing, in one line', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  const said = await calls(client, [['addMarkedRoute', 4]], ['setpriv', '--bounding-set=-all']);
  t.match(
    said,
    /^ip -4 rule fwmark 1337 lookup 133: EPERM \(.+\); needs the capabilities NET_ADMIN and NET_RAW\n$/,
  );
});
