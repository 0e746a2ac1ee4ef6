/** One certificate of the corpus in wrong-certificates.ts. */
import type { IssueOptions } from '../src/identity/dev-ca.ts';
import { type Authority, type IdentityPems, testIdentity } from './certificates.ts';

export interface WrongCertificate {
  readonly name: string;
  readonly client: string | null;
  readonly server: string | null;
  make(authority: Authority): Promise<IdentityPems>;
}

/** Refused on both sides for the same reason. */
export function wrong(
  name: string,
  reason: string | null,
  options: Omit<IssueOptions, 'spiffeId'>,
): WrongCertificate {
  return {
    name,
    client: reason,
    server: reason,
    make: authority => testIdentity(authority, 'foo/sleep', options),
  };
}

/** Odd, and right. */
export function believed(name: string, options: Omit<IssueOptions, 'spiffeId'>): WrongCertificate {
  return wrong(name, null, options);
}
