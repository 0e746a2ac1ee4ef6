/**
 * A development certificate authority: SPIFFE workload certificates for the demo, `outrider certs` and tests.
 * Not for production: the key lies in a file. @peculiar/x509 and the reflection polyfill that it needs (tsyringe, its
 * dependency, throws without `Reflect.getMetadata`) are loaded on first use: they cost 80 ms, which `run` never pays.
 */
import { webcrypto } from 'node:crypto';

/** An authority that can sign: a root, or an intermediate below one. All fields are PEM but `trustDomain`. */
export interface Authority {
  readonly trustDomain: string;
  /** The self-signed root that verifiers trust. */
  readonly rootPem: string;
  /** The certificate that signs: the root itself, or an intermediate. */
  readonly certPem: string;
  /** PKCS #8. */
  readonly keyPem: string;
  /** What a leaf's chain carries after the leaf: '' below a root, else the intermediates up to the root's child. */
  readonly chainPem: string;
}

/** The three files of a workload's identity. */
export interface IdentityPems {
  /** Leaf first, then intermediates. */
  readonly certChainPem: string;
  /** PKCS #8. */
  readonly keyPem: string;
  readonly rootPem: string;
}

/** One X.509 extension; `der` is what the extension's OCTET STRING holds. */
export interface ExtensionPlan {
  readonly oid: string;
  readonly critical: boolean;
  readonly der: Uint8Array;
}

/** A certificate before it is signed; `mutate` may change every part of it. */
export interface CertificatePlan {
  /** Distinguished name in RFC 2253 text, '' for an empty one. */
  readonly subject: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly extensions: readonly ExtensionPlan[];
}

type Mutation = (plan: CertificatePlan) => CertificatePlan;

export interface AuthorityOptions {
  /** Default `cluster.local`, as Istio's. */
  readonly trustDomain?: string;
  /** Unix milliseconds; default the clock. */
  readonly now?: number;
  /** Default 3650. */
  readonly days?: number;
  /** Common name of the authority. */
  readonly name?: string;
  readonly mutate?: Mutation;
}

export interface IssueOptions {
  /** The URI SAN. Not checked here: wrong ones are for tests; `outrider certs` checks before. */
  readonly spiffeId: string;
  /** Lifetime from `now`; default 24 h, as Istio's. */
  readonly ttlMs?: number;
  /** Unix milliseconds; default the clock. */
  readonly now?: number;
  /** Unix milliseconds; default one minute before `now`, for clocks that disagree. */
  readonly notBefore?: number;
  readonly dnsNames?: readonly string[];
  readonly subject?: string;
  readonly mutate?: Mutation;
}

const DAY_MS = 86_400_000;
const SKEW_MS = 60_000;
const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' } as const;
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CRL_NUMBER = '2.5.29.20';

/**
 * Makes a self-signed P-256 root for one trust domain (X509-SVID section 4: cA true, keyCertSign, critical key usage).
 */
export async function createAuthority(options: AuthorityOptions = {}): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  const plan = await authorityPlan(options, keys.publicKey, undefined);
  const rootPem = await sign({ plan, publicKey: keys.publicKey, issuer: plan.subject, key: keys.privateKey });
  return {
    trustDomain: options.trustDomain ?? 'cluster.local',
    rootPem,
    certPem: rootPem,
    keyPem: await exportKey(keys.privateKey),
    chainPem: '',
  };
}

/** Makes an intermediate authority below `parent`; leaves that it issues carry it in their chain. */
export async function createIntermediate(
  parent: Authority,
  options: Omit<AuthorityOptions, 'trustDomain'> = {},
): Promise<Authority> {
  const { X509Certificate } = await library();
  const issuer = new X509Certificate(parent.certPem);
  const keys = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  const named = { name: 'Outrider development intermediate', ...options, trustDomain: parent.trustDomain };
  const plan = await authorityPlan(named, keys.publicKey, issuer.publicKey.rawData);
  const key = await importKey(parent.keyPem);
  const certPem = await sign({ plan, publicKey: keys.publicKey, issuer: issuer.subject, key });
  return {
    trustDomain: parent.trustDomain,
    rootPem: parent.rootPem,
    certPem,
    keyPem: await exportKey(keys.privateKey),
    chainPem: certPem + parent.chainPem,
  };
}

/**
 * Issues an X509-SVID: one URI SAN, cA false, digitalSignature, serverAuth and clientAuth; empty subject and therefore a
 * critical SAN (X509-SVID section 3.1), as Istio's own.
 */
export async function issue(authority: Authority, options: IssueOptions): Promise<IdentityPems> {
  const x509 = await library();
  const keys = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  const issuer = new x509.X509Certificate(authority.certPem);
  const now = options.now ?? Date.now();
  const subject = options.subject ?? '';
  const names = [
    { type: 'url' as const, value: options.spiffeId },
    ...(options.dnsNames ?? []).map(value => ({ type: 'dns' as const, value })),
  ];
  const extensions = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([SERVER_AUTH, CLIENT_AUTH], false),
    await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey, false),
    new x509.SubjectAlternativeNameExtension(names, subject === ''),
  ];
  const plan = {
    subject,
    notBefore: new Date(options.notBefore ?? now - SKEW_MS),
    notAfter: new Date(now + (options.ttlMs ?? DAY_MS)),
    extensions: extensions.map(planned),
  };
  const certPem = await sign({
    plan: options.mutate ? options.mutate(plan) : plan,
    publicKey: keys.publicKey,
    issuer: issuer.subject,
    key: await importKey(authority.keyPem),
  });
  return {
    certChainPem: certPem + authority.chainPem,
    keyPem: await exportKey(keys.privateKey),
    rootPem: authority.rootPem,
  };
}

export interface RevocationOptions {
  /** Hex; of certificates that this authority signed. */
  readonly serials: readonly string[];
  /** Until when the list counts; Unix milliseconds. */
  readonly nextUpdate: number;
  /** Unix milliseconds; default the clock. */
  readonly now?: number;
}

/**
 * Signs an authority's revocation list (RFC 5280 section 5): a full one, numbered by its time.
 *
 * @returns PEM
 */
export async function signRevocations(authority: Authority, options: RevocationOptions): Promise<string> {
  const x509 = await library();
  const issuer = new x509.X509Certificate(authority.certPem);
  const { serials, nextUpdate, now = Date.now() } = options;
  const list = await x509.X509CrlGenerator.create({
    issuer: issuer.subject,
    thisUpdate: new Date(now - SKEW_MS),
    nextUpdate: new Date(nextUpdate),
    entries: serials.map(serialNumber => ({ serialNumber, revocationDate: new Date(now) })),
    extensions: [
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey, false),
      new x509.Extension(CRL_NUMBER, false, integer(now)),
    ],
    signingAlgorithm: SIGNING,
    signingKey: await importKey(authority.keyPem),
  });
  return `${list.toString('pem')}\n`.replaceAll(' CRL-----', ' X509 CRL-----'); // RFC 7468 section 6
}

/** The serials in lists of this authority, hex; those of others are passed over. */
export async function revokedSerials(authority: Authority, pem: string): Promise<string[]> {
  const x509 = await library();
  const issuer = new x509.X509Certificate(authority.certPem);
  const blocks = pem.match(/-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----/g) ?? [];
  const lists = blocks.map(block => new x509.X509Crl(block.replaceAll('X509 CRL', 'CRL')));
  const own = lists.filter(list => list.issuer === issuer.subject);
  return own.flatMap(list => list.entries.map(({ serialNumber }) => serialNumber));
}

/** A DER INTEGER of six octets: Unix milliseconds need no fewer since 2004 and no more until the year 6429. */
function integer(milliseconds: number): Uint8Array<ArrayBuffer> {
  const der = new Uint8Array(8);
  der.set([0x02, 6]);
  new DataView(der.buffer).setUint16(2, Math.floor(milliseconds / 2 ** 32));
  new DataView(der.buffer).setUint32(4, milliseconds % 2 ** 32);
  return der;
}

async function authorityPlan(
  options: AuthorityOptions,
  publicKey: webcrypto.CryptoKey,
  issuerKey: ArrayBuffer | undefined,
): Promise<CertificatePlan> {
  const x509 = await library();
  const trustDomain = options.trustDomain ?? 'cluster.local';
  const now = options.now ?? Date.now();
  const extensions: import('@peculiar/x509').Extension[] = [
    new x509.BasicConstraintsExtension(true, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    await x509.SubjectKeyIdentifierExtension.create(publicKey, false),
    new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }], false),
  ];
  if (issuerKey) {
    extensions.push(await x509.AuthorityKeyIdentifierExtension.create(new x509.PublicKey(issuerKey), false));
  }
  const plan = {
    subject: `CN=${options.name ?? 'Outrider development CA'}, O=${trustDomain}`,
    notBefore: new Date(now - SKEW_MS),
    notAfter: new Date(now + (options.days ?? 3650) * DAY_MS),
    extensions: extensions.map(planned),
  };
  return options.mutate ? options.mutate(plan) : plan;
}

interface Signing {
  readonly plan: CertificatePlan;
  readonly publicKey: webcrypto.CryptoKey;
  readonly issuer: string;
  readonly key: webcrypto.CryptoKey;
}

async function sign({ plan, publicKey, issuer, key }: Signing): Promise<string> {
  const x509 = await library();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: plan.subject,
    issuer,
    notBefore: plan.notBefore,
    notAfter: plan.notAfter,
    publicKey,
    signingKey: key,
    signingAlgorithm: SIGNING,
    extensions: plan.extensions.map(({ oid, critical, der }) => new x509.Extension(oid, critical, der)),
  });
  return `${certificate.toString('pem')}\n`;
}

function planned(extension: { type: string; critical: boolean; value: ArrayBuffer }): ExtensionPlan {
  return { oid: extension.type, critical: extension.critical, der: new Uint8Array(extension.value) };
}

async function library(): Promise<typeof import('@peculiar/x509')> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`;
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, P256, false, ['sign']);
}
