import t from 'tap';
import { checkIdentity } from '../src/identity/svid.ts';
import { certificates } from '../src/status.ts';
import { testAuthority, testCrl, testIdentity } from './certificates.ts';

t.test('/certs names the revocation lists in force, and how much they revoke', async t => {
  const authority = await testAuthority();
  const { certChainPem, keyPem, rootPem } = await testIdentity(authority, 'foo/httpbin');
  const nextUpdate = Math.floor(Date.now() / 1_000) * 1_000 + 60_000;
  const files = {
    certChain: Buffer.from(certChainPem),
    key: Buffer.from(keyPem),
    root: Buffer.from(rootPem),
    crl: Buffer.from(await testCrl(authority, ['01', '02'], { nextUpdate })),
  };
  const check = checkIdentity(files, Date.now(), 1);
  if (!check.ok) throw new Error(check.fault.message);
  const shown = certificates({
    identity: check.value,
    lastFailure: null,
    ready: true,
    draining: false,
    config: { generation: 1, reloads: 0, failures: 0, lastReloadSuccessful: true, loadedAt: 0 },
    faults: [],
    workers: 1,
  });
  t.match(shown, {
    crls: [{ file: 'crl.pem', revoked: 2, nextUpdate: new Date(nextUpdate).toISOString() }],
  });
  t.notMatch(JSON.stringify(shown), /PRIVATE KEY/);
});
