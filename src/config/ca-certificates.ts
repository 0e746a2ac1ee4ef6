/** Whom the mesh config says to believe besides the workload's own bundle, and no longer: caCertificates, caCrl. */
import { X509Certificate } from 'node:crypto';
import { canRead } from './files.ts';
import { trustDomainProblem } from './names.ts';
import type { CaCertificates, MeshConfig } from './resources.ts';
import type { Section } from './section.ts';

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----\s([\s\S]*?)-----END \1-----/g;
const NO_TEXT = /^\s*(?:#.*)?$/;

/** Istio's caCertificates (MeshConfig.CertificateData). */
export function readCaCertificates(root: Section): readonly CaCertificates[] {
  return (root.sections('caCertificates') ?? []).flatMap(entry => readEntry(entry) ?? []);
}

function readEntry(entry: Section): CaCertificates | null {
  const pem = entry.text('pem');
  entry.notHonoured('spiffeBundleUrl', 'certSigners');
  const domains = entry.texts('trustDomains') ?? [];
  for (const { value, place, path } of domains) {
    const wrong = trustDomainProblem(value);
    if (wrong !== null) entry.report.error(place, `${path}: ${wrong}`);
  }
  entry.close('warning');
  if (pem === null) {
    if (!entry.has('spiffeBundleUrl')) entry.fault('must have pem: the certificates of a CA');
    return null;
  }
  const problem = certificatesProblem(pem);
  if (problem !== null) entry.error('pem', problem);
  return { pem, trustDomains: domains.length === 0 ? null : domains.map(({ value }) => value) };
}

/** Outrider's own field: revocation lists for the whole mesh, as PEM text or as the path of a file that is watched. */
export function readCaCrl(root: Section): MeshConfig['caCrl'] {
  const text = root.text('caCrl');
  if (!text) return null;
  if (!text.includes('-----BEGIN ')) {
    if (!canRead(text)) root.warning('caCrl', `the file ${text} does not exist or cannot be read`);
    return { path: text };
  }
  if (blocksOf(text, 'X509 CRL') === null)
    root.error('caCrl', 'is neither a path nor PEM blocks of X509 CRL');
  return { pem: text };
}

function certificatesProblem(pem: string): string | null {
  const blocks = blocksOf(pem, 'CERTIFICATE');
  if (blocks === null) return 'must be PEM blocks of CERTIFICATE, whole and nothing else';
  for (const [at, block] of blocks.entries()) {
    const found = certificateOf(block);
    if (found === null) return `block ${at + 1} cannot be read as a certificate`;
    if (!found.ca) return `block ${at + 1} is no CA that may sign certificates`;
  }
  return null;
}

function certificateOf(pem: string): X509Certificate | null {
  try {
    return new X509Certificate(pem);
  } catch {
    return null;
  }
}

/** The blocks of a text that holds blocks with this label only, at least one; null for any other text. */
function blocksOf(text: string, label: string): readonly string[] | null {
  const blocks = [...text.matchAll(BLOCK)];
  const between = text.replaceAll(BLOCK, '').split('\n');
  const clean = between.every(line => NO_TEXT.test(line));
  return clean && blocks.length > 0 && blocks.every(block => block[1] === label)
    ? blocks.map(block => block[0])
    : null;
}
