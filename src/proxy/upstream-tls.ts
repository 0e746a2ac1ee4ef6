/** TLS towards peers: the certificates of each mode, and the judgement on who answered, before a byte is sent. */
import { readFileSync } from 'node:fs';
import type { CompliancePolicy } from '../config/settings.ts';
import { judgePeer } from '../identity/peer.ts';
import { judgeServer } from '../identity/server-name.ts';
import type { ServerRevocation } from '../identity/server-revocation.ts';
import type { IdentityGeneration } from '../identity/svid.ts';
import type { Trust } from '../identity/trust.ts';
import { createOriginator, type HandshakeFacts, type Judgement, type Originator } from '../net/tls.ts';
import { sameTls, type TlsSettings, tlsSettings } from '../net/tls-settings.ts';
import type { OpenTls } from './cluster.ts';
import { isExpired, materialOf, OWN_EXPIRED } from './material.ts';
import { outerRevocation } from './outer-revocation.ts';
import { PeerDuct } from './peer-duct.ts';
import type { Peer } from './revalidation.ts';
import type { UpstreamTls } from './route.ts';
import { withProof } from './session-proof.ts';

type Security = UpstreamTls & { tls: true };

export interface UpstreamTlsParts {
  /** Of mutual TLS within the mesh, now. */
  tls(): TlsSettings;
  readonly compliancePolicy: CompliancePolicy | null;
  /** What a connection that was believed negotiated. */
  negotiated(facts: HandshakeFacts): void;
}

/** What a mode with certificates of its own connects with. */
interface Door {
  readonly originator: Originator;
  readonly roots: string | null;
  readonly revocation: ServerRevocation | null;
}

export class UpstreamTlsDoor {
  #identity: IdentityGeneration;
  #trust: Trust;
  #originator: Originator;
  /** SIMPLE, which leads out of the mesh: its config says nothing of this TLS. Made when first wanted. */
  #outer: Originator | null = null;
  readonly #parts: UpstreamTlsParts;
  #tls: TlsSettings;
  /** MUTUAL and SIMPLE with files of their own, by their paths; read again after every change of configuration. */
  #byFiles = new Map<string, Door>();

  constructor(identity: IdentityGeneration, trust: Trust, parts: UpstreamTlsParts) {
    this.#identity = identity;
    this.#trust = trust;
    this.#parts = parts;
    this.#tls = parts.tls();
    this.#originator = createOriginator(materialOf(identity, trust), this.#tls);
  }

  /** A new configuration: new connections negotiate what it says, with the files as they are now. */
  renew(trust: Trust): void {
    this.#forgetFiles();
    const tls = this.#parts.tls();
    if (sameTls(tls, this.#tls) && trust.epoch === this.#trust.epoch) return;
    this.#tls = tls;
    this.#trust = trust;
    this.#originator.replace(materialOf(this.#identity, trust), tls);
  }

  /** New connections present `identity` and believe whom `trust` believes from now on. */
  replaceIdentity(identity: IdentityGeneration, trust: Trust): void {
    this.#identity = identity;
    this.#trust = trust;
    this.#originator.replace(materialOf(identity, trust));
    this.#forgetFiles();
  }

  /** They are read again, and connected with anew, when they are wanted. */
  #forgetFiles(): void {
    for (const { originator } of this.#byFiles.values()) if (originator !== this.#outer) originator.close();
    this.#byFiles.clear();
    this.#outer?.close();
    this.#outer = null;
  }

  open: OpenTls = (to, done) => {
    const { security, inlet, socket: over, alpn } = to;
    if (security.mode === 'ISTIO_MUTUAL' && isExpired(this.#identity)) {
      over?.destroy();
      queueMicrotask(() => done(OWN_EXPIRED, null));
      return;
    }
    let door: Door;
    try {
      door = this.#doorFor(security);
    } catch (error) {
      // A file of the DestinationRule that is missing or no PEM: this destination fails, the others do not.
      const why = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
      queueMicrotask(() => done(`client certificates: ${why}`, null));
      return;
    }
    door.originator.connect<Peer>(
      {
        host: to.host,
        port: to.port,
        servername: security.sni,
        timeoutMs: to.timeoutMs,
        mode: security.mode,
        roots: door.roots,
        expects: JSON.stringify(security),
        judge: facts => this.#judge(facts, security, { host: to.host, revocation: door.revocation }),
        ...(inlet !== null && { onread: inlet.onread() }),
        ...(over !== undefined && { socket: over }),
        ...(alpn !== undefined && { alpn }),
      },
      (...[why, socket, peer, facts]) => {
        if (facts !== null) this.#parts.negotiated(facts);
        done(
          why,
          socket === null || peer === null ? null : new PeerDuct(socket, inlet, peer, facts?.alpn ?? null),
        );
      },
    );
  };

  #doorFor(security: Security): Door {
    if (security.mode === 'ISTIO_MUTUAL')
      return { originator: this.#originator, roots: null, revocation: null };
    const { clientCertificate, privateKey, caCertificates, caCrl } = security;
    const key = [security.mode, clientCertificate, privateKey, caCertificates, caCrl].join('\n');
    const known = this.#byFiles.get(key);
    if (known !== undefined) return known;
    const roots = caCertificates === null ? null : readFileSync(caCertificates, 'utf8');
    const own = materialOf(this.#identity, this.#trust);
    const tls = tlsSettings(null, this.#parts.compliancePolicy);
    let originator: Originator;
    if (security.mode === 'MUTUAL') {
      const material = {
        ...own,
        certChainPem: readFileSync(clientCertificate ?? '', 'utf8'),
        keyPem: readFileSync(privateKey ?? '', 'utf8'),
        ...(roots !== null && { rootPem: roots }),
      };
      originator = createOriginator(material, tls);
    } else {
      this.#outer ??= createOriginator(own, tls);
      originator = this.#outer;
    }
    const door = { originator, roots, revocation: outerRevocation(security, roots, this.#trust) };
    this.#byFiles.set(key, door);
    return door;
  }

  #judge(
    facts: HandshakeFacts,
    security: Security,
    { host, revocation }: { readonly host: string; readonly revocation: ServerRevocation | null },
  ): Judgement<Peer> {
    return security.mode === 'ISTIO_MUTUAL'
      ? this.#judgeWorkload(facts, security.subjectAltNames)
      : withProof(
          judgeServer({
            der: facts.der,
            signers: facts.signers,
            revocation,
            authorizationError: facts.authorizationError,
            host: security.sni || host,
            subjectAltNames: security.subjectAltNames,
            insecureSkipVerify: security.insecureSkipVerify,
            now: Date.now(),
          }),
          facts,
        );
  }

  /** The peer's SPIFFE ID must be one of `expected`; none expected: the chain and the trust domain decide. */
  #judgeWorkload(facts: HandshakeFacts, expected: readonly string[]): Judgement<Peer> {
    const verdict = judgePeer({
      der: facts.der,
      signers: facts.signers,
      authorizationError: facts.authorizationError,
      trust: this.#trust,
      role: 'server',
      now: Date.now(),
    });
    if (!verdict.ok) return verdict;
    const { uri } = verdict.peer.id;
    if (expected.length > 0 && !expected.includes(uri))
      return { ok: false, reason: `unexpected identity ${uri}` };
    return { ok: true, value: verdict.peer, proof: verdict.peer };
  }
}
