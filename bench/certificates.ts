/** Certificates for one bench run: a P-256 authority, a server, a client, and a client that policy does not allow. */
import { X509Certificate } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createAuthority, issue } from '../src/identity/dev-ca.ts';
import { CLIENT_ID, SERVER_ID, SERVICE_HOST, STRANGER_ID, TRUST_DOMAIN } from './workload.ts';

/** One identity on disk. */
export interface IdentityFiles {
  readonly id: string;
  /** Folder with cert-chain.pem, key.pem and root-cert.pem. */
  readonly folder: string;
  readonly cert: string;
  readonly key: string;
  readonly root: string;
  /** Certificate and key in one file, as HAProxy wants it. */
  readonly combined: string;
  /** Hex SHA-1 of the DER: what nginx and HAProxy can compare in place of a SPIFFE ID. */
  readonly sha1: string;
}

export interface BenchIdentities {
  readonly server: IdentityFiles;
  readonly client: IdentityFiles;
  readonly stranger: IdentityFiles;
}

/** Makes all three identities below `folder`, valid for a day. */
export async function makeIdentities(folder: string): Promise<BenchIdentities> {
  const authority = await createAuthority({ trustDomain: TRUST_DOMAIN, days: 2 });
  const make = async (name: string, spiffeId: string, dnsNames: readonly string[]) => {
    const pems = await issue(authority, { spiffeId, dnsNames });
    const own = join(folder, name);
    const combined = join(own, 'combined.pem');
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, 'cert-chain.pem'), pems.certChainPem);
    writeFileSync(join(own, 'root-cert.pem'), pems.rootPem);
    writeFileSync(join(own, 'key.pem'), pems.keyPem, { mode: 0o600 });
    writeFileSync(combined, pems.certChainPem + pems.keyPem, { mode: 0o600 });
    return {
      id: spiffeId,
      folder: own,
      cert: join(own, 'cert-chain.pem'),
      key: join(own, 'key.pem'),
      root: join(own, 'root-cert.pem'),
      combined,
      sha1: new X509Certificate(pems.certChainPem).fingerprint.replaceAll(':', '').toLowerCase(),
    };
  };
  return {
    server: await make('server', SERVER_ID, [SERVICE_HOST]),
    client: await make('client', CLIENT_ID, []),
    stranger: await make('stranger', STRANGER_ID, []),
  };
}
