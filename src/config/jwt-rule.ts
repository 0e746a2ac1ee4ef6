/** One of RequestAuthentication's jwtRules, checked as Istio's webhook and its custom resource definition do. */
import type { SectionsOf } from './document.ts';
import { hasTrailingText, jwksProblem, privateKeys } from './jwks-text.ts';
import { quote } from './quote.ts';
import type { JwtRule } from './resources.ts';
import type { Section } from './section.ts';
import { readDuration } from './traffic-policy.ts';
import { urlProblem } from './url.ts';

const DEFAULT_TIMEOUT_MS = 5_000; // Istio's
const MAX_URI = 2_048;
const MAX_CLAIMS = 64;
const HEADER_NAME = /^[-_A-Za-z0-9]+$/; // stricter than HTTP: Istio's ValidateStrictHTTPHeaderName

/** Reads one rule; what it gives is of use only when the report has no error. */
export function readJwtRule(section: Section, sections: SectionsOf): JwtRule {
  const rule: JwtRule = {
    issuer: readIssuer(section),
    audiences: readTexts(section, 'audiences'),
    jwks: readJwks(section),
    jwksUri: readJwksUri(section),
    timeoutMs: readDuration(section, 'timeout') ?? DEFAULT_TIMEOUT_MS,
    fromHeaders: readFromHeaders(section),
    fromParams: readTexts(section, 'fromParams'),
    fromCookies: readTexts(section, 'fromCookies'),
    forwardOriginalToken: section.flag('forwardOriginalToken') ?? false,
    outputPayloadToHeader: readPayloadHeader(section),
    outputClaimToHeaders: readClaimHeaders(section),
    spaceDelimitedClaims: readSpaceDelimited(section),
  };
  section.close();
  sections.set(rule, section);
  return rule;
}

function readIssuer(section: Section): string {
  const issuer = section.text('issuer');
  if (issuer === '') section.error('issuer', 'is empty; write the iss claim of the tokens');
  else if (
    issuer === null &&
    !section.isWritten('issuer') &&
    !uriFields(section).some(name => section.has(name))
  )
    section.fault('needs an issuer or a jwksUri');
  return issuer ?? '';
}

/** A list of texts of which none is empty. */
function readTexts(section: Section, field: string): readonly string[] {
  const items = section.texts(field) ?? [];
  for (const { value, place, path } of items) {
    if (value === '') section.report.error(place, `${path}: is empty; write a value or remove it`);
  }
  return items.map(({ value }) => value);
}

function readJwks(section: Section): string | null {
  const text = section.text('jwks');
  if (text === null || text === '') return null; // Istio: as if absent
  const problem = jwksProblem(text);
  if (problem !== null) {
    section.error('jwks', problem);
    return text;
  }
  if (hasTrailingText(text))
    section.warning('jwks', 'has text after the key set: every token is refused; remove it');
  for (const index of privateKeys(text)) {
    section.warning(
      'jwks',
      `key ${index} holds private key material; only public keys are needed to verify: remove the private part`,
    );
  }
  return text;
}

/** Both names of the field are in Istio's resource definition. */
function uriFields(section: Section): readonly string[] {
  return ['jwksUri', 'jwks_uri'].filter(name => section.isWritten(name));
}

function readJwksUri(section: Section): string | null {
  const found = ['jwksUri', 'jwks_uri'].map(name => [name, section.text(name)] as const);
  const written = [...uriFields(section), ...(section.has('jwks') ? ['jwks'] : [])];
  if (written.length > 1)
    section.error(written[0] ?? 'jwksUri', `${written.join(' and ')} exclude each other; keep one`);
  for (const [name, uri] of found) {
    if (uri === null) continue;
    const problem = uriProblem(uri);
    if (problem !== null) section.error(name, problem);
    else if (!URL.canParse(uri))
      section.warning(
        name,
        `nothing can be fetched from ${quote(uri)}: every token is refused; mend the URL`,
      );
    return uri;
  }
  return null;
}

function uriProblem(uri: string): string | null {
  if (uri === '') return 'is empty; write the URL of a key set';
  if ([...uri].length > MAX_URI) return `has more than ${MAX_URI} characters`;
  return urlProblem(uri, ['http', 'https']);
}

function readFromHeaders(section: Section): JwtRule['fromHeaders'] {
  return (section.sections('fromHeaders') ?? []).map(entry => {
    const name = entry.required('name', 'the header that carries the token') ?? '';
    const prefix = entry.text('prefix') ?? '';
    entry.close();
    return { name, prefix };
  });
}

/** Istio takes any text here; what is no header name cannot be written. */
function readPayloadHeader(section: Section): string | null {
  const name = section.text('outputPayloadToHeader');
  if (name === null || name === '') return null;
  if (/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) return name;
  section.warning(
    'outputPayloadToHeader',
    `${quote(name)} is not a header name; the payload is not passed on`,
  );
  return null;
}

function readClaimHeaders(section: Section): JwtRule['outputClaimToHeaders'] {
  return (section.sections('outputClaimToHeaders') ?? []).map(entry => {
    const header = entry.required('header', 'the header to write') ?? '';
    const claim = entry.required('claim', 'the claim to pass on') ?? '';
    entry.close();
    if (header !== '' && !HEADER_NAME.test(header))
      entry.error('header', `${quote(header)} may hold letters, digits, "-" and "_" only`);
    return { header, claim };
  });
}

function readSpaceDelimited(section: Section): readonly string[] {
  const claims = readTexts(section, 'spaceDelimitedClaims');
  if (claims.length > MAX_CLAIMS) section.error('spaceDelimitedClaims', `has more than ${MAX_CLAIMS} claims`);
  return claims;
}
