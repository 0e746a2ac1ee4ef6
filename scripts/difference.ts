/** A difference for a person: what was asked, what both said, how to see it again, and a case file made of it. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { stringify } from 'yaml';
import type { Difference } from './istio-cases.ts';

const ROOT_NAMESPACE = 'istio-system';

interface Described {
  readonly id: string;
  readonly workload: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> };
  readonly protocol: string;
  readonly source: { readonly ip: string; readonly principal?: string };
  readonly destination: { readonly ip: string; readonly port: number };
  readonly sni?: string;
  readonly request?: {
    readonly method: string;
    readonly path: string;
    readonly host: string;
    readonly headers: Readonly<Record<string, readonly string[]>>;
  };
}

/** Lines for the terminal; writes the case file, or the manifest, under the scratch folder. */
export function describeDifference(seed: number, difference: Difference, scratch: string): string {
  const again = `  again:    npm run diff:istio -- --seed ${seed} --keep`;
  const head = `DIFFERENT in ${basename(difference.folder)}`;
  if (difference.kind === 'folder') return [`${head}: ${difference.why}`, again].join('\n');
  const check = difference.kind === 'check';
  const name = check ? difference.file : described(difference).id;
  const kept = join(
    scratch,
    'differences',
    `${seed}-${name.replace(/[^\w.-]/g, '_')}${check ? '' : '.yaml'}`,
  );
  mkdirSync(join(scratch, 'differences'), { recursive: true });
  writeFileSync(kept, check ? readFileSync(join(difference.folder, difference.file)) : caseFile(difference));
  return [
    `${head}, ${name}: ${difference.why}`,
    `  Istio:    ${check ? difference.expect : JSON.stringify(difference.expect)}`,
    `  Outrider: ${check ? difference.got : JSON.stringify(difference.got)}`,
    ...(check ? [] : [`  request:  ${JSON.stringify(difference.request)}`]),
    again,
    `  ${check ? 'manifest:' : 'case:    '} ${kept}`,
  ].join('\n');
}

type Explained = Difference & { readonly kind: 'explain' };

function described({ request }: Explained): Described {
  return request as unknown as Described;
}

/** For test/policy/cases: the manifests that concern the workload, then the request with what Istio and Envoy decided. */
function caseFile(difference: Explained): string {
  const request = described(difference);
  const manifests = readdirSync(difference.folder)
    .filter(name => name.endsWith('.yaml'))
    .map(name => JSON.parse(readFileSync(join(difference.folder, name), 'utf8')))
    .filter(({ metadata }) => concerns(metadata?.namespace, request.workload.namespace));
  const table = {
    workload: request.workload,
    tables: [{ says: difference.why, cases: [caseLine(request, difference.expect.decision ?? 'allow')] }],
  };
  return [
    `# ${JSON.stringify(difference.request)}\n# ${JSON.stringify(difference.expect)}\n`,
    ...[...manifests, table].map(document => stringify(document)),
  ].join('---\n');
}

function concerns(namespace: string | undefined, workload: string): boolean {
  return namespace === undefined || namespace === ROOT_NAMESPACE || namespace === workload;
}

/**
 * In the words of test/policy/case-file.ts. A token that the judge made is written as its claims, to be signed there: put
 * `$JWKS` for the manifests' key sets. What cannot be said so (a broken token) is in the comment above.
 */
function caseLine({ protocol, source, destination, sni, request }: Described, decision: string): string {
  const what = protocol === 'tcp' ? 'TCP' : `${request?.method} ${request?.path}`;
  const over = protocol === 'http2' || protocol === 'grpc' ? ` over ${protocol}` : '';
  const by = source.principal === undefined ? '' : ` by ${source.principal.replace('spiffe://', '')}`;
  const from = ` from ${source.ip} to ${destination.port} at ${destination.ip}${sni ? ` sni ${sni}` : ''}`;
  if (request === undefined) return `${what}${by}${from} => ${decision}`;
  const { authorization = [], ...headers } = request.headers;
  const token = authorization.map(claimsOf).find(claims => claims !== null);
  const written = token === undefined ? request.headers : headers;
  const lines = Object.entries(written).flatMap(([name, values]) =>
    values.map(value => ` with ${name}: ${value}`),
  );
  const signed = token === undefined ? '' : ` token ${token}`;
  return `${what}${over}${by}${from} host ${request.host}${signed}${lines.join('')} => ${decision}`;
}

/** The claims of `Bearer TOKEN`, as JSON; null when it is no token that could be read. */
function claimsOf(authorization: string): string | null {
  const [, payload] = /^Bearer [\w-]+\.([\w-]+)\.[\w-]+$/.exec(authorization) ?? [];
  return payload === undefined ? null : Buffer.from(payload, 'base64url').toString();
}
