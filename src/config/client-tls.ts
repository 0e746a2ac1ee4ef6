import type { ClientTls } from './resources.ts';
import type { Section } from './section.ts';

const MODES = ['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL'] as const;
const OWN_FILES = ['clientCertificate', 'privateKey'] as const;
const FILES = [...OWN_FILES, 'caCertificates', 'caCrl'] as const;

/** True when a file that a manifest names can be read. */
export type FileExists = (path: string) => boolean;

/** Reads ClientTLSSettings (trafficPolicy.tls). */
export function readClientTls(section: Section, fileExists: FileExists): ClientTls {
  const mode = section.choice('mode', MODES) ?? 'DISABLE'; // the zero value of Istio's enum
  if (!section.has('mode'))
    section.report.warning(section.place, `${section.path}: has no mode, which means DISABLE`);
  const tls: ClientTls = {
    mode,
    sni: section.text('sni') || null,
    subjectAltNames: (section.texts('subjectAltNames') ?? []).map(({ value }) => value),
    clientCertificate: section.text('clientCertificate') || null,
    privateKey: section.text('privateKey') || null,
    caCertificates: section.text('caCertificates') || null,
    caCrl: section.text('caCrl') || null,
    insecureSkipVerify: section.flag('insecureSkipVerify') ?? false,
  };
  section.notSupported('credentialName');
  section.close();
  checkMode(section, tls);
  for (const field of FILES) {
    const file = tls[field];
    if (file !== null && !fileExists(file))
      section.warning(field, `the file ${file} does not exist or cannot be read`);
  }
  return tls;
}

function checkMode(section: Section, tls: ClientTls): void {
  switch (tls.mode) {
    case 'DISABLE':
      return warnOfPlaintext(section, tls);
    case 'ISTIO_MUTUAL':
      for (const field of [...FILES, 'insecureSkipVerify'] as const) {
        if (tls[field])
          section.error(field, 'must not be set with ISTIO_MUTUAL, which uses the workload certificate');
      }
      return;
    case 'MUTUAL':
      for (const field of OWN_FILES) {
        if (!tls[field]) section.error(field, 'must be set with MUTUAL: the path of a PEM file');
      }
      return refuseUnchecked(section, tls);
    case 'SIMPLE':
      for (const field of OWN_FILES) {
        if (tls[field])
          section.warning(field, 'is not used with SIMPLE; write MUTUAL to present a certificate');
      }
      return refuseUnchecked(section, tls);
  }
}

function refuseUnchecked(section: Section, tls: ClientTls): void {
  if (!tls.insecureSkipVerify) return;
  if (!tls.caCertificates && !tls.caCrl && tls.subjectAltNames.length === 0) return;
  section.error(
    'insecureSkipVerify',
    'excludes caCertificates, caCrl and subjectAltNames: nothing would check them',
  );
}

function warnOfPlaintext(section: Section, tls: ClientTls): void {
  const idle = ['sni', ...FILES].some(field => section.has(field)) || tls.subjectAltNames.length > 0;
  if (idle && section.has('mode'))
    section.warning('mode', 'is DISABLE: plaintext; the other tls fields have no effect');
}
