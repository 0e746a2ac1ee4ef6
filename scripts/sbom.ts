/**
 * `npm run -s sbom [cyclonedx|spdx]`: the packages that Outrider is made of, by the lock file, on standard output. It is npm's
 * own list, without what npm makes up anew each time: SOURCE_DATE_EPOCH gives the time (s since 1970; else the last commit's,
 * else now), and the serial number is a digest of the rest. The same sources give the same bytes.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FORMATS = ['cyclonedx', 'spdx'] as const;
const NAME = 'outrider';

type Format = (typeof FORMATS)[number];

interface CycloneDx {
  serialNumber: string;
  metadata: { timestamp: string; component: { name: string } };
  components: { readonly name: string; readonly version: string; readonly 'bom-ref': string }[];
  dependencies: { readonly ref: string; dependsOn: string[] }[];
}

interface Spdx {
  documentNamespace: string;
  creationInfo: { created: string };
  packages: { readonly name: string; readonly versionInfo: string; readonly SPDXID: string }[];
  relationships: { readonly spdxElementId: string; readonly relatedSpdxElement: string }[];
}

/** @throws Error when npm cannot say */
export function sbom(format: Format, environment: NodeJS.ProcessEnv = process.env): string {
  const bill: unknown = JSON.parse(run('npm', ['sbom', '--package-lock-only', `--sbom-format=${format}`]));
  const at = new Date(secondsOf(environment) * 1_000).toISOString();
  if (format === 'cyclonedx') settle(bill as CycloneDx, at);
  else settleSpdx(bill as Spdx, at);
  return `${JSON.stringify(bill, null, 2)}\n`;
}

function settle(bill: CycloneDx, at: string): void {
  const installed = installedPackages();
  bill.components = bill.components.filter(one => installed.has(`${one.name}@${one.version}`));
  const refs = new Set(bill.components.map(one => one['bom-ref']));
  bill.dependencies = bill.dependencies.filter(one => refs.has(one.ref) || one.ref.startsWith(`${NAME}@`));
  for (const one of bill.dependencies) one.dependsOn = one.dependsOn.filter(ref => refs.has(ref));
  bill.metadata.timestamp = at;
  bill.metadata.component.name = NAME; // npm takes the folder's
  bill.serialNumber = '';
  bill.serialNumber = `urn:uuid:${uuidOf(bill)}`;
}

function settleSpdx(bill: Spdx, at: string): void {
  const installed = installedPackages();
  bill.packages = bill.packages.filter(
    one => one.name === NAME || installed.has(`${one.name}@${one.versionInfo}`),
  );
  const ids = new Set(['SPDXRef-DOCUMENT', ...bill.packages.map(one => one.SPDXID)]);
  bill.relationships = bill.relationships.filter(
    one => ids.has(one.spdxElementId) && ids.has(one.relatedSpdxElement),
  );
  bill.creationInfo.created = at.replace(/\.\d+Z$/, 'Z'); // SPDX 2.3, 6.9: no fractions
  bill.documentNamespace = '';
  bill.documentNamespace = `urn:uuid:${uuidOf(bill)}`;
}

/** `name@version` of what is not for development only. `npm sbom --omit=dev` drops what both kinds need (npm 11.19: yaml). */
function installedPackages(): Set<string> {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as Lock;
  return new Set(
    Object.entries(packages)
      .filter(([path, { dev }]) => path !== '' && dev !== true)
      .map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`),
  );
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version?: string; readonly dev?: boolean }>>;
}

/** RFC 9562 5.8: a UUID of our own making. */
function uuidOf(value: unknown): string {
  const hex = createHash('sha256').update(JSON.stringify(value)).digest('hex');
  const variant = '89ab'[Number.parseInt(hex.charAt(16), 16) & 3];
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}

function secondsOf({ SOURCE_DATE_EPOCH: said }: NodeJS.ProcessEnv): number {
  if (said !== undefined && said !== '') {
    if (!/^\d{1,12}$/.test(said)) throw new Error('SOURCE_DATE_EPOCH is a whole number of seconds');
    return Number(said);
  }
  const { status, stdout } = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8' });
  return status === 0 && stdout !== '' ? Number(stdout) : Math.floor(Date.now() / 1_000);
}

function run(command: string, args: readonly string[]): string {
  const result = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (result.status !== 0) throw new Error(`${command} ${args[0]} failed: ${result.error ?? result.stderr}`);
  return result.stdout;
}

if (import.meta.main) {
  const format = FORMATS.find(one => one === (process.argv[2] ?? 'cyclonedx'));
  if (format === undefined) throw new Error(`which format? ${FORMATS.join(' or ')}`);
  process.stdout.write(sbom(format));
}
