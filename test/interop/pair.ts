/** Two sidecars of one mesh with an app behind the second: Envoy and Outrider, either first. */
import { join } from 'node:path';
import {
  type Authority,
  type IdentityPems,
  temporaryIdentity,
  testAuthority,
  testIdentity,
} from '../certificates.ts';
import { deadPort } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { type Envoy, startEnvoy } from './envoy.ts';
import type { Declared, Files, Mode, Spoken, Variant } from './istio-envoy.ts';
import { inboundPort } from './istio-inbound.ts';
import { outboundDestination } from './istio-outbound.ts';
import type { Stage } from './stage.ts';

export const HOST = 'httpbin.foo.svc.cluster.local';
export const PORT = 80;
export const SNI = `outbound_.${PORT}_._.${HOST}`;
export const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
export const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const TRUST_DOMAIN = 'cluster.local';

export interface PairOptions extends Variant {
  /** The app's port. */
  readonly app: number;
  /** What goes over the wire. */
  readonly spoken: Spoken;
  /** What the server's port is declared as; default what is spoken. */
  readonly declared?: Declared;
  /** What the app speaks; default what is spoken. */
  readonly appSpeaks?: Spoken;
  readonly mode?: Mode;
  /** The identities that both present, when not sleep and httpbin. */
  readonly client?: IdentityPems;
  readonly server?: IdentityPems;
  /** Who may; default the client. */
  readonly allowed?: string;
  /** ALPN names of Envoy, when not Istio's. */
  readonly offers?: readonly string[];
  /** The client speaks plaintext to the server. */
  readonly plain?: boolean;
  /** What Outrider's ServiceEntry says of the port; default by what is spoken. */
  readonly entryProtocol?: string;
  /** More fields of the trafficPolicy of Outrider's DestinationRule, YAML flow. */
  readonly traffic?: string;
}

export interface Pair {
  /** Where the client app's traffic goes, on 127.0.0.1. */
  readonly entry: number;
  readonly envoy: Envoy;
  readonly outrider: Sidecar;
}

export interface Mesh {
  readonly authority: Authority;
  readonly sleep: IdentityPems;
  readonly httpbin: IdentityPems;
}

let made: Promise<Mesh> | null = null;
/** One authority for a file of tests. */
export function mesh(): Promise<Mesh> {
  made ??= testAuthority().then(async authority => ({
    authority,
    sleep: await testIdentity(authority, 'foo/sleep'),
    httpbin: await testIdentity(authority, 'foo/httpbin'),
  }));
  return made;
}

/** Envoy as the sidecar of the client, Outrider as that of the app. */
export async function envoyToOutrider(stage: Stage, options: PairOptions): Promise<Pair> {
  const { sleep, httpbin } = await mesh();
  const { app, spoken, mode = 'STRICT', allowed = SLEEP } = options;
  const declared = options.declared ?? declaredFor(options.appSpeaks ?? spoken);
  const outrider = await startOutrider(stage, {
    certs: temporaryIdentity(stage, options.server ?? httpbin),
    app,
    manifests: inboundManifests(mode, options.plain ? null : { principal: allowed, sni: SNI }),
    flags: declared === 'auto' ? [] : ['--protocol', `${app}=${declared}`],
  });
  const { listener, cluster } = outboundDestination({
    host: HOST,
    port: PORT,
    endpoint: outrider.ports.inbound,
    spoken,
    files: filesIn(temporaryIdentity(stage, options.client ?? sleep)),
    expects: HTTPBIN,
    ...variantOf(options),
    ...(options.offers && { offers: options.offers }),
    ...(options.plain && { plain: true }),
  });
  const envoy = await startEnvoy(stage, { listeners: [listener], clusters: [cluster] });
  return { entry: envoy.port('outbound'), envoy, outrider };
}

/** Outrider as the sidecar of the client, Envoy as that of the app. */
export async function outriderToEnvoy(stage: Stage, options: PairOptions): Promise<Pair> {
  const { sleep, httpbin } = await mesh();
  const { spoken, mode = 'STRICT', allowed = SLEEP } = options;
  const port = await deadPort();
  const { listener, cluster } = inboundPort({
    port,
    app: options.app,
    declared: options.declared ?? declaredFor(spoken),
    mode,
    files: filesIn(temporaryIdentity(stage, options.server ?? httpbin)),
    trustDomain: TRUST_DOMAIN,
    allowed: options.plain ? null : allowed,
    appSpeaks: options.appSpeaks ?? spoken,
    ...variantOf(options),
  });
  const envoy = await startEnvoy(stage, { listeners: [listener], clusters: [cluster] });
  const egress = spoken === 'tcp' ? await deadPort() : null;
  const outrider = await startOutrider(stage, {
    certs: temporaryIdentity(stage, options.client ?? sleep),
    manifests: outboundManifests(options, port, egress),
  });
  return { entry: egress ?? outrider.ports.outbound, envoy, outrider };
}

function declaredFor(spoken: Spoken): Declared {
  if (spoken === 'tcp' || spoken === 'http2') return spoken;
  return 'http';
}

function variantOf({ tls12, requestsPerConnection }: Variant): Variant {
  return { ...(tls12 && { tls12 }), ...(requestsPerConnection && { requestsPerConnection }) };
}

/** One whose lines are shown when the row fails. */
export async function startOutrider(
  stage: Stage,
  options: Parameters<typeof startSidecar>[1],
): Promise<Sidecar> {
  const sidecar = await startSidecar(stage, options);
  stage.show('Outrider', () =>
    [...sidecar.log.all, ...sidecar.access.all, ...sidecar.other.all]
      .map(line => (typeof line === 'string' ? line : JSON.stringify(line)))
      .join('\n'),
  );
  return sidecar;
}

function filesIn(folder: string): Files {
  return {
    cert: join(folder, 'cert-chain.pem'),
    key: join(folder, 'key.pem'),
    root: join(folder, 'root-cert.pem'),
  };
}

/** The mode, and who may: by the SPIFFE ID of the certificate and the name asked for in TLS; null = everyone. */
export function inboundManifests(mode: Mode, allowed: { principal: string; sni?: string } | null): string {
  const from = `from: [{source: {principals: [${allowed?.principal.replace('spiffe://', '')}]}}]`;
  const when =
    allowed?.sni === undefined ? '' : `, when: [{key: connection.sni, values: ["${allowed.sni}"]}]`;
  const rule = allowed === null ? '{}' : `{${from}${when}}`;
  return `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: ${mode}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: client, namespace: foo}
spec: {action: ALLOW, rules: [${rule}]}
`;
}

function outboundManifests(options: PairOptions, endpoint: number, egress: number | null): string {
  const { spoken, plain } = options;
  const protocols = { tcp: 'TCP', http2: 'HTTP2', 'http/1.1': 'HTTP', 'http/1.0': 'HTTP' };
  const tls = plain ? 'tls: {mode: DISABLE}' : mutual(HTTPBIN);
  const entry = service({
    host: HOST,
    port: PORT,
    protocol: options.entryProtocol ?? protocols[spoken],
    endpoints: [endpoint],
    policy: options.traffic === undefined ? tls : `${tls}, ${options.traffic}`,
  });
  return `kind: MeshConfig${entry}${egress === null ? '' : egressListener(egress)}`;
}

function egressListener(port: number): string {
  return `
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: foo}
spec:
  egress:
    - port: {number: ${port}, protocol: TCP, name: main}
      bind: 127.0.0.1
      hosts: [foo/${HOST}]
`;
}
