/**
 * What Kubernetes puts beside a workload: its certificates' folder or the socket that hands them out and, by the downward
 * API, its labels.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

const CERTIFICATE_FILES = ['cert-chain.pem', 'key.pem', 'root-cert.pem'];
export const CERTS_DIRS = Object.freeze([
  '/var/run/secrets/workload-spiffe-credentials',
  '/etc/certs',
  './certs',
]);
/** Where Istio's agent looks for the socket of a Workload API. */
export const WORKLOAD_SOCKET = '/var/run/secrets/workload-spiffe-uds/socket';
export const LABEL_FILES = Object.freeze(['/etc/istio/pod/labels', '/etc/podinfo/labels']);

/** True for a folder that holds the three files of an identity. */
export function holdsIdentity(dir: string): boolean {
  return CERTIFICATE_FILES.every(file => isFile(join(dir, file)));
}

/** The first of the folders that holds an identity; null when none does. */
export function findCertsDir(dirs: readonly string[] = CERTS_DIRS): string | null {
  return dirs.find(holdsIdentity) ?? null;
}

/** The address of the socket at this path; null when there is none. */
export function findWorkloadSocket(path: string = WORKLOAD_SOCKET): string | null {
  try {
    return statSync(path).isSocket() ? `unix://${path}` : null;
  } catch {
    return null;
  }
}

/** The pod's labels from the first of the files that can be read; none without one. */
export function readPodLabels(files: readonly string[] = LABEL_FILES): Readonly<Record<string, string>> {
  for (const file of files) {
    try {
      return parseDownwardLabels(readFileSync(file, 'utf8'));
    } catch {
      // not there: the next one
    }
  }
  return {};
}

/** The downward API's form: a `key="value"` a line, the value as Go quotes it. Lines of another form are passed over. */
export function parseDownwardLabels(text: string): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const [, key, quoted] = /^([^=\s]+)=("(?:[^"\\]|\\.)*")\s*$/.exec(line) ?? [];
    if (key === undefined || quoted === undefined) continue;
    try {
      labels[key] = String(JSON.parse(quoted)); // label values need none of Go's own escapes
    } catch {
      // an escape that is not JSON's: not a label value
    }
  }
  return labels;
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
