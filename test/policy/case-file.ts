/**
 * Case files: Istio manifests, then one document of tables that read as the rule's manual. A line is
 *   `METHOD PATH [over http2|grpc] [by IDENTITY] [from IP] [to PORT] [at IP] [sni NAME] [host HOST] [token CLAIMS]
 *   [asks allow|deny] [with NAME: VALUE]… => allow|deny [NS/NAME#RULE|REASON] [audit NS/NAME,…]
 *   [dryrun NS/NAME:allow|deny,…] [custom PROVIDER,…]`
 * or `TCP [by …] [from …] [to …] [at …] [sni …] [asks …] => …`. Without `by` the connection is plaintext. CLAIMS are JSON,
 * signed by the key that `$JWKS` in a manifest stands for; `asks` is what external authorizers answer. Defaults: from
 * 10.0.0.9, to 8080 at 10.1.0.1, host a.com.
 */
import { createSign, generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { loadManifests } from '../../src/config/manifest.ts';
import type { Resources } from '../../src/config/resources.ts';

export interface Table {
  readonly says: string;
  readonly workload: { readonly namespace: string; readonly labels: Record<string, string> };
  readonly cases: readonly string[];
}

export interface CaseFile {
  /** The manifests as text. */
  readonly manifests: string;
  readonly tables: readonly Table[];
}

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const JWKS = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k', alg: 'RS256' }] });

/** A token with these claims that the tests' key has signed; it does not expire. */
export function signToken(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'RS256', kid: 'k' })}.${part({ exp: 4_685_989_700, ...claims })}`;
  return `${text}.${createSign('RSA-SHA256').update(text).sign(privateKey).toString('base64url')}`;
}

/** Takes a case file apart. */
export function parseCaseFile(file: string): CaseFile {
  const documents = parseAllDocuments(readFileSync(file, 'utf8'));
  const last = documents.pop()!.toJS() as { workload?: Table['workload']; tables: Table[] };
  const workload = { namespace: 'foo', labels: {}, ...last.workload };
  return {
    manifests: documents
      .map(document => document.toString())
      .join('---\n')
      .replaceAll('$JWKS', `'${JWKS}'`),
    tables: last.tables.map(table => ({ ...table, workload: { ...workload, ...table.workload } })),
  };
}

/** Reads a case file; its manifests go through the loader that `run` uses. */
export function readCaseFile(
  file: string,
  scratch: string,
): { readonly resources: Resources; readonly tables: readonly Table[] } {
  const { manifests, tables } = parseCaseFile(file);
  const path = join(scratch, 'manifests.yaml');
  writeFileSync(path, manifests);
  const loaded = loadManifests([path]);
  if (!loaded.ok) throw new Error(loaded.faults.map(fault => `${file}: ${fault.message}`).join('\n'));
  return { resources: loaded.resources, tables };
}

const ASKED = [
  /(?:TCP|(?<method>\S+) (?<path>\S+))(?: over (?<over>http2|grpc))?(?: by (?<by>\S+))?/,
  /(?: from (?<from>\S+))?(?: to (?<to>\d+))?(?: at (?<at>\S+))?(?: sni (?<sni>\S+))?(?: host (?<host>\S*))?/,
  /(?: token (?<token>\{.*?\}))?(?: asks (?<asks>allow|deny))?(?<headers>(?: with [^:\s]+:(?: (?!with ).*?)?)*)/,
];
const ANSWERED = [
  /(?<decision>allow|deny)(?: (?!audit |dryrun |custom )(?<why>\S+))?/,
  /(?: audit (?<audit>\S+))?(?: dryrun (?<dryrun>\S+))?(?: custom (?<custom>\S+))?/,
];
const sourceOf = (parts: readonly RegExp[]) => parts.map(part => part.source).join('');
const LINE = new RegExp(`^${sourceOf(ASKED)} => ${sourceOf(ANSWERED)}$`);

/** In the format of `outrider explain`. */
export interface DescribedRequest {
  readonly protocol: string;
  readonly source: { readonly ip: string; readonly principal?: string };
  readonly destination: { readonly ip: string; readonly port: number };
  readonly sni?: string;
  readonly custom?: string;
  readonly request: {
    readonly method: string | undefined;
    readonly path: string | undefined;
    readonly host: string;
    readonly headers: Readonly<Record<string, readonly string[]>>;
  };
}

export interface Case {
  readonly request: DescribedRequest;
  readonly decision: 'allow' | 'deny';
  /** `ns/name#rule`, `none`, or a reason; absent = not compared. */
  readonly why: string | undefined;
  readonly audit: readonly string[];
  /** `ns/name:decision` each. */
  readonly dryRun: readonly string[];
  /** Providers that are asked. */
  readonly custom: readonly string[];
}

export function readCase(line: string): Case {
  const found = LINE.exec(line)?.groups;
  if (found === undefined) throw new Error(`not a case: ${line}`);
  const headers: Record<string, string[]> = {};
  for (const [, name, value] of (found.headers ?? '').matchAll(
    / with ([^:\s]+):(?: (?!with )(.*?))?(?= with |$)/g,
  )) {
    headers[name!] = [...(headers[name!] ?? []), value ?? ''];
  }
  if (found.token !== undefined) {
    headers.authorization = [`Bearer ${signToken(JSON.parse(found.token) as object)}`];
  }
  const request = {
    protocol: found.method === undefined ? 'tcp' : (found.over ?? 'http'),
    source: { ip: found.from ?? '10.0.0.9', ...(found.by && { principal: `spiffe://${found.by}` }) },
    destination: { ip: found.at ?? '10.1.0.1', port: Number(found.to ?? 8080) },
    ...(found.sni && { sni: found.sni }),
    ...(found.asks && { custom: found.asks }),
    request: { method: found.method, path: found.path, host: found.host ?? 'a.com', headers },
  };
  return {
    request,
    decision: found.decision as Case['decision'],
    why: found.why,
    audit: listOf(found.audit),
    dryRun: listOf(found.dryrun),
    custom: listOf(found.custom),
  };
}

function listOf(text: string | undefined): string[] {
  return text === undefined ? [] : text.split(',');
}
