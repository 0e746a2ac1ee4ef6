import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');

t.test('a connection to the inbound listener itself is a loop, with no app named', async t => {
  const sidecar = await startSidecar(t, { certs: temporaryIdentity(t, httpbin) });
  const client = connect(sidecar.ports.inbound, '127.0.0.1').on('error', () => {});
  await once(client, 'close');
  t.match(await sidecar.access.take(line => line.direction === 'inbound'), {
    response_flags: 'NR',
    response_code_details: 'loop',
  });
  t.same(sidecar.other.all, [], 'standard error is lines of JSON');
});

t.test('with capture off and no app nobody knows where a connection was going', async t => {
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    flags: ['--capture', 'off'],
  });
  const client = connect(sidecar.ports.inbound, '127.0.0.1').on('error', () => {});
  await once(client, 'close');
  t.match(await sidecar.access.take(line => line.direction === 'inbound'), {
    response_code_details: 'no_destination',
  });
});
