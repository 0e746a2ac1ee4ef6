/** `meshMTLS` of Istio's mesh config: the TLS of mutual TLS within the mesh. */
import { quote } from './quote.ts';
import type { MeshConfig } from './resources.ts';
import type { Item, Section } from './section.ts';

type MeshTls = Pick<MeshConfig, 'minTlsVersion' | 'tlsCipherSuites' | 'tlsGroups'>;

/** What holds when the mesh config says nothing. */
export const DEFAULT_MESH_TLS: MeshTls = Object.freeze({
  minTlsVersion: 'TLSv1.2',
  tlsCipherSuites: null,
  tlsGroups: null,
});

/** Istio's (pkg/config/security/security.go) without DES-CBC3-SHA, which OpenSSL 3 does not offer. */
const CIPHER_SUITES = new Set([
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-RSA-AES256-SHA',
  'AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-SHA',
  'AES256-SHA',
]);
/** Istio's without X25519Kyber768Draft00, a draft that OpenSSL does not have. */
const GROUPS = new Set(['X25519MLKEM768', 'X25519', 'P-256', 'P-384', 'P-521', 'P-224']);

export function readMeshTls(root: Section): MeshTls {
  const section = root.section('meshMTLS');
  if (!section) return DEFAULT_MESH_TLS;
  const version = section.choice('minProtocolVersion', ['TLS_AUTO', 'TLSV1_2', 'TLSV1_3']);
  const tlsCipherSuites = usable(section, 'cipherSuites', CIPHER_SUITES, 'cipher suite');
  const tlsGroups = usable(section, 'ecdhCurves', GROUPS, 'curve');
  if (tlsGroups !== null && tlsGroups.length > 0) {
    const where = section.keyOf('ecdhCurves');
    section.report.warning(
      where,
      `${section.pathOf('ecdhCurves')}: istiod refuses curves here; Outrider takes them`,
    );
  }
  section.close('warning');
  return {
    minTlsVersion: version === 'TLSV1_3' ? 'TLSv1.3' : DEFAULT_MESH_TLS.minTlsVersion,
    tlsCipherSuites,
    tlsGroups,
  };
}

/**
 * The names that OpenSSL has, without repetitions; the others are left out with a warning, as in Istio. Nothing left of
 * a list is an error: what was asked for must not become everything.
 */
function usable(
  section: Section,
  field: string,
  known: ReadonlySet<string>,
  what: string,
): readonly string[] | null {
  const items = section.texts(field);
  if (items === null || items.length === 0) return null;
  const left = new Set(items.map(({ value }) => value).filter(value => known.has(value)));
  if (left.size === 0)
    section.error(field, `holds no ${what} that can be used; write one of ${[...known].join(', ')}`);
  else for (const item of items) if (!known.has(item.value)) warnOf(section, item, what);
  return [...left];
}

function warnOf({ report }: Section, { value, place, path }: Item, what: string): void {
  report.warning(place, `${path}: ${quote(value)} is no ${what} that can be used; it is left out`);
}
