/** `outrider certs issue`: a workload certificate, once or again and again until told to stop. */
import { setTimeout as delay } from 'node:timers/promises';
import { issue } from '../identity/dev-ca.ts';
import { swapIdentity } from '../identity/folder-swap.ts';
import { parseSpiffeId } from '../identity/spiffe.ts';
import { readAuthority } from './certs-authority.ts';
import { Complaint } from './certs-complaint.ts';

export interface IssuePlan {
  /** The folder of the CA. */
  readonly ca: string;
  /** Where the three files go. */
  readonly dir: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly ttlMs: number;
  /** A whole SPIFFE ID in place of namespace and service account. */
  readonly spiffeId?: string | null;
  /** DNS names besides it; none by default. */
  readonly dnsNames?: readonly string[];
  /** Issues anew this often until stopped; null or absent = once. */
  readonly rotateEveryMs?: number | null;
}

export interface Rotation {
  /** Ends it. */
  readonly stop: AbortSignal;
  /** Tells of one certificate. */
  readonly say: (line: string) => void;
  /** Resolves after `ms`, or at once when `stop` comes; default a timer. */
  readonly wait?: (ms: number, stop: AbortSignal) => Promise<void>;
}

/**
 * Issues one certificate.
 *
 * @returns what to tell
 * @throws Complaint when the CA or the name is wrong; Error of node:fs
 */
export async function issueOnce(plan: IssuePlan): Promise<string> {
  const now = Date.now();
  const { ca, dir, namespace, serviceAccount, ttlMs, dnsNames = [] } = plan;
  const { authority, notAfter } = readAuthority(ca, now);
  const uri = plan.spiffeId ?? `spiffe://${authority.trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
  const parsed = parseSpiffeId(uri);
  if (!parsed.ok) throw new Complaint(2, `${JSON.stringify(uri)} is no SPIFFE ID (${parsed.reason})`);
  if (parsed.id.trustDomain !== authority.trustDomain) {
    throw new Complaint(
      2,
      `the CA in ${ca} is for ${authority.trustDomain}, not for ${parsed.id.trustDomain}`,
    );
  }
  const until = Math.min(now + ttlMs, notAfter); // a leaf that outlives its CA fails without saying why
  swapIdentity(dir, await issue(authority, { spiffeId: uri, now, ttlMs: until - now, dnsNames }), now);
  return `issued ${uri} in ${dir}, valid until ${new Date(until).toISOString().slice(0, 19)}Z`;
}

/**
 * Issues every `everyMs` until `stop`; the folder never holds more than one identity. The CA is read each time, so a new
 * one is taken up.
 *
 * @throws as issueOnce
 */
export async function issueUntilStopped(
  plan: IssuePlan,
  everyMs: number,
  { stop, say, wait = pause }: Rotation,
): Promise<void> {
  while (!stop.aborted) {
    say(await issueOnce(plan));
    await wait(everyMs, stop);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal }).catch(() => {}); // stopped
}
