/** `outrider check`: what is wrong with manifests, mesh config and certificates, before they are used. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { listManifestFiles } from '../config/files.ts';
import { loadManifests } from '../config/manifest.ts';
import type { GivenWorkload } from '../config/policy-scope.ts';
import type { Fault, MeshConfig } from '../config/resources.ts';
import { CERT_CHAIN, KEY, ROOT_CERT } from '../identity/folder.ts';
import { readSettled } from '../identity/identity-files.ts';
import { checkIdentity } from '../identity/svid.ts';
import { acceptedTrustDomains } from '../policy/trust-domain.ts';
import { parseCheck } from './command-flags.ts';

export interface CheckOptions {
  /** One JSON object a fault instead of `file:line:col severity message`. */
  readonly json: boolean;
  /** A workload whose selectors are looked at; null or absent = the workloads that the files name. */
  readonly workload?: GivenWorkload | null;
  /** Takes the lines of standard output. */
  readonly print?: (line: string) => void;
  /** Takes the summary, for standard error. */
  readonly summarise?: (line: string) => void;
}

const toStandardOutput = (line: string): boolean => process.stdout.write(`${line}\n`);
const toStandardError = (line: string): boolean => process.stderr.write(`${line}\n`);

/** The command: parses its line, checks, prints; gives the exit code. */
export async function check(args: readonly string[]): Promise<number> {
  const parsed = parseCheck(args);
  if (parsed.ok) return runCheck(parsed.value.paths, parsed.value);
  if (parsed.exitCode === 0) process.stdout.write(parsed.message);
  else toStandardError(`outrider: ${parsed.message}`);
  return parsed.exitCode;
}

/**
 * Checks the paths: YAML files, folders of them, and folders that hold certificates. Opens no socket, changes nothing.
 *
 * @returns 1 when any fault is an error, else 0
 */
export async function runCheck(
  paths: readonly string[],
  { json, workload, print = toStandardOutput, summarise = toStandardError }: CheckOptions,
): Promise<0 | 1> {
  const folders = paths.filter(holdsCertificates);
  const manifestPaths = paths.filter(
    path => !folders.includes(path) || listManifestFiles([path]).some(({ ok }) => ok),
  );
  const manifests = loadManifests(manifestPaths, workload ?? undefined);
  const mesh = manifests.ok ? manifests.resources.mesh : null;
  const faults: Fault[] = [...(manifests.ok ? manifests.warnings : manifests.faults)];
  for (const folder of folders) faults.push(...(await certificateFaults(folder, mesh)));
  for (const fault of faults) print(json ? asJson(fault) : asLine(fault));
  const files = listManifestFiles(manifestPaths).filter(({ ok }) => ok).length;
  summarise(summary(files, folders.length, faults));
  return faults.some(({ severity }) => severity === 'error') ? 1 : 0;
}

function holdsCertificates(path: string): boolean {
  return isFolder(path) && [CERT_CHAIN, KEY, ROOT_CERT].some(file => existsSync(join(path, file)));
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** The one fault of an identity folder; and a warning when the mesh would not take its trust domain for its own. */
async function certificateFaults(folder: string, mesh: MeshConfig | null): Promise<readonly Fault[]> {
  const reading = await readSettled(folder);
  if (!reading.ok) return [certificateFault(folder, reading.fault.file, 'error', reading.fault.message)];
  const checked = checkIdentity(reading.files, Date.now(), 1);
  if (!checked.ok) return [certificateFault(folder, checked.fault.file, 'error', checked.fault.message)];
  const { trustDomain } = checked.value;
  if (!mesh?.origin || acceptedTrustDomains(mesh).includes(trustDomain)) return [];
  const message = `${CERT_CHAIN}: its trust domain ${trustDomain} is neither the mesh config's trustDomain nor an alias`;
  return [certificateFault(folder, CERT_CHAIN, 'warning', message)];
}

function certificateFault(folder: string, file: string, severity: Fault['severity'], message: string): Fault {
  const path = file === folder ? folder : join(folder, file);
  return { file: path, line: 1, column: 1, severity, kind: '', name: '', message };
}

function asJson({ file, line, column, severity, kind, name, message }: Fault): string {
  return JSON.stringify({ file, line, column, severity, kind, name, message });
}

function asLine({ file, line, column, severity, message }: Fault): string {
  return printable(`${file}:${line}:${column} ${severity} ${message}`);
}

/** A file name or a field name may hold anything, a terminal's control codes too. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, char => JSON.stringify(char).slice(1, -1));
}

function summary(files: number, folders: number, faults: readonly Fault[]): string {
  const errors = faults.filter(({ severity }) => severity === 'error').length;
  const looked = [count(files, 'file'), ...(folders > 0 ? [count(folders, 'certificate folder')] : [])];
  const found = [
    ...(errors > 0 ? [count(errors, 'error')] : []),
    ...(faults.length > errors ? [count(faults.length - errors, 'warning')] : []),
  ];
  return `${looked.join(', ')}, ${found.length > 0 ? found.join(', ') : 'no faults'}`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
