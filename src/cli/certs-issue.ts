/** `outrider certs issue`: a workload certificate, once or again and again until told to stop. */
import { setTimeout as delay } from 'node:timers/promises';
import { issue } from '../identity/dev-ca.ts';
import { swapIdentity } from '../identity/folder-swap.ts';
import { parseSpiffeId } from '../identity/spiffe.ts';
import { readAuthority } from './certs-authority.ts';
import { Complaint, complaintOf } from './certs-complaint.ts';

const RETRY_MS = 5_000; // as often as a person looks again

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
  /** Tells of an issuance that failed. */
  readonly warn: (line: string) => void;
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
 * one is taken up. The first issuance must succeed; a later one that fails is said and tried again soon, since the
 * certificate that is there still has some life.
 *
 * @throws as issueOnce, of the first issuance
 */
export async function issueUntilStopped(
  plan: IssuePlan,
  everyMs: number,
  { stop, say, warn, wait = pause }: Rotation,
): Promise<void> {
  say(await issueOnce(plan));
  let next = everyMs;
  for (;;) {
    await wait(next, stop);
    if (stop.aborted) return;
    try {
      say(await issueOnce(plan));
      next = everyMs;
    } catch (error) {
      const complaint = complaintOf(error);
      next = Math.min(everyMs, RETRY_MS);
      const why = complaint?.message ?? `cannot issue (${error instanceof Error ? error.message : error})`;
      warn(`${why}; what was issued before stays, trying again in ${next / 1_000} s`);
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal }).catch(() => {}); // stopped
}
