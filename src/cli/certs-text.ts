/** Certificates as a person reads them. */
import type { IdentityFault } from '../identity/identity-fault.ts';
import type { ShownCertificate, ShownRevocations } from './certs-show.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** One certificate, a field a line. `now` in Unix milliseconds. */
export function certificateText(certificate: ShownCertificate, now: number): string {
  const { role, file, uris, subject, issuer, serial, key, notBefore, notAfter } = certificate;
  return block(`${role}, ${file}`, [
    [uris.length > 1 ? 'SPIFFE IDs' : 'SPIFFE ID', uris.join(', ') || 'none'],
    ['subject', subject || 'none'],
    ['issuer', issuer !== '' && issuer === subject ? `${issuer} (itself)` : issuer || 'none'],
    ['serial', serial],
    ['key', key],
    ['valid', `${notBefore} to ${notAfter}, ${endText(certificate, now)}`],
    ['usages', usagesText(certificate)],
  ]);
}

/** One revocation list. */
export function revocationText(
  { file, issuer, thisUpdate, nextUpdate }: ShownRevocations,
  now: number,
): string {
  const next =
    nextUpdate === null ? 'with no end' : `to ${nextUpdate}, ${endsText(Date.parse(nextUpdate), now)}`;
  return block(`revocation list, ${file}`, [
    ['issuer', issuer || 'none'],
    ['valid', `${thisUpdate} ${next}`],
  ]);
}

/** The last line. */
export function verdictText(dir: string, fault: IdentityFault | null): string {
  return fault
    ? `not usable: ${printable(fault.message)}`
    : `usable: run would take the files of ${printable(dir)}`;
}

function block(title: string, lines: readonly (readonly [name: string, text: string])[]): string {
  return [title, ...lines.map(([name, text]) => `  ${name.padEnd(11)}${printable(text)}`)].join('\n');
}

function endText({ validity, notBefore, notAfter }: ShownCertificate, now: number): string {
  return validity === 'not_yet_valid'
    ? `begins in ${spanText(Date.parse(notBefore) - now)}`
    : endsText(Date.parse(notAfter), now);
}

function endsText(end: number, now: number): string {
  return now > end ? `expired ${spanText(now - end)} ago` : `expires in ${spanText(end - now)}`;
}

function usagesText({ ca, keyUsage, extendedKeyUsage }: ShownCertificate): string {
  const words = [...(ca ? ['CA'] : []), ...(keyUsage ?? []), ...(extendedKeyUsage ?? [])];
  return words.join(', ') || 'not said';
}

/** `3 h 12 min`, `2 days`, `10 years`: two units at most, none that nobody minds. */
export function spanText(ms: number): string {
  if (ms >= 2 * YEAR) return `${Math.round(ms / YEAR)} years`;
  if (ms >= 2 * DAY) return `${Math.floor(ms / DAY)} days`;
  if (ms >= DAY) return withRest('1 day', Math.floor((ms - DAY) / HOUR), 'h');
  if (ms >= HOUR) return withRest(`${Math.floor(ms / HOUR)} h`, Math.floor((ms % HOUR) / MINUTE), 'min');
  return ms >= MINUTE ? `${Math.floor(ms / MINUTE)} min` : `${Math.floor(ms / SECOND)} s`;
}

function withRest(first: string, rest: number, unit: string): string {
  return rest === 0 ? first : `${first} ${rest} ${unit}`;
}

/** What stands in a certificate cannot move the cursor. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}
