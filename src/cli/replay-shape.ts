/** Paths that differ only in what names one thing among many are one shape: `/orders/42` is `/orders/*`. */

const MAX_SEGMENTS = 12; // deeper paths end in `…`
const NUMBER = /^\d+$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const HEX = /^[0-9a-f]{8,}$/i;
/** Long, and letters and digits mixed: a token, a hash in another alphabet, a name made by a machine. */
const TOKEN = /^(?=.*\d)(?=.*[a-z])[\w-]{16,}$/i;
const MAX_SEGMENT = 64;

/** The shape of a path; the query is not part of it. */
export function pathShape(target: string): string {
  const path = target.split(/[?#]/, 1)[0] ?? '';
  const segments = path.split('/');
  const shown = segments.slice(0, MAX_SEGMENTS).map(segmentShape);
  if (segments.length > MAX_SEGMENTS) shown.push('…');
  return shown.join('/');
}

function segmentShape(segment: string): string {
  if (NUMBER.test(segment) || UUID.test(segment) || HEX.test(segment) || TOKEN.test(segment)) return '*';
  return segment.length > MAX_SEGMENT ? '*' : segment;
}
