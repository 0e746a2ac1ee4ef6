import { fileURLToPath } from 'node:url';
import t from 'tap';
import { temporaryFolder } from '../certificates.ts';
import { type Host, missingForHosts, OUTRIDER_COMMAND, startHosts } from './hosts.ts';

t.setTimeout(120_000); // a busy machine

const skip = missingForHosts('nft') ?? false;
const SAME_RULES = fileURLToPath(new URL('./same-rules.ts', import.meta.url));
const RUNS = 20; // a second or two
const [NODE = '', MAIN = ''] = OUTRIDER_COMMAND;
const APPLY = [MAIN, 'capture', 'apply', '--backend', 'netlink'];
const DONE = { code: 0, stdout: '', stderr: '' };
const LIST = ['nft', 'list', 'ruleset'];

t.test('what the kernel then has is what nft makes of the printed rules', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  for (let round = 1; round <= 3; round++)
    t.same(await client.run([NODE, SAME_RULES, String(RUNS)]), DONE, `round ${round}`);
});

t.test('no other program, no variable and no other capability is needed', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  const alone = [
    'setpriv',
    '--bounding-set=-all,+net_admin,+net_raw,+dac_read_search', // a checkout may be where root alone cannot read
    '--inh-caps=-all',
    'env',
    '-i',
    'PATH=',
    NODE,
    ...APPLY,
  ];
  for (const mode of ['redirect', 'tproxy']) {
    t.same(await client.run([...alone, '--mode', mode]), DONE);
    const own = await client.must(...LIST);
    t.same(await client.outrider('capture', 'apply', '--mode', mode, '--backend', 'nft'), DONE);
    t.equal(await client.must(...LIST), own, mode);
  }
});

t.test('koffi does the same where Node has no FFI', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  t.same(await client.run([NODE, '--no-experimental-ffi', ...APPLY]), DONE);
  const own = await client.must(...LIST);
  t.same(await client.outrider('capture', 'apply', '--backend', 'nft'), DONE);
  t.equal(await client.must(...LIST), own);
});

t.test('a Node that may not call the C library says what it needs, in one line', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  const { code, stderr } = await client.run([NODE, '--permission', '--allow-fs-read=*', ...APPLY]);
  t.equal(code, 1);
  t.match(
    stderr,
    /^outrider: capture: this Node cannot speak with the kernel: it needs Node 26\.9 .+ koffi\n$/,
  );
});

const UNKNOWN = `
import { exchange } from '${new URL('../../src/net/netlink.ts', import.meta.url)}';
import { openNetlink } from '${new URL('../../src/net/netlink-socket.ts', import.meta.url)}';
import * as nft from '${new URL('../../src/net/nf-tables.ts', import.meta.url)}';
import { expression, loadMeta } from '${new URL('../../src/net/nf-expressions.ts', import.meta.url)}';
const chain = { name: 'c', type: 'filter', hook: 'output', priority: 0 };
const rule = nft.addRule('outrider', 'c', [loadMeta(16), expression('nosuch', [])]);
const messages = [nft.addTable('outrider'), nft.deleteTable('outrider'), nft.addTable('outrider'), nft.addChain('outrider', chain), rule];
const { index, errno, offset } = exchange(openNetlink(12, 'it'), nft.batch(messages));
console.log(index, errno, nft.expressionAt(rule.body, offset));
`;

async function unknownExpression(host: Host): Promise<string> {
  return host.must(NODE, '--input-type=module', '-e', UNKNOWN);
}

t.test('what the kernel does not know is named by its answer, and nothing has changed', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  t.same(await client.run([NODE, ...APPLY]), DONE);
  const before = await client.must(...LIST);
  t.equal(await unknownExpression(client), '5 2 nosuch\n');
  t.equal(await client.must(...LIST), before);
});
