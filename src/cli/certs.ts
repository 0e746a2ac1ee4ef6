/** `outrider certs`: a development CA, its workload certificates and revocation lists, and what is in a certificate folder. */
import { type AuthorityPlan, makeAuthority } from './certs-authority.ts';
import { complaintOf } from './certs-complaint.ts';
import { type IssuePlan, issueOnce, issueUntilStopped, type Rotation } from './certs-issue.ts';
import { type RevocationPlan, revoke } from './certs-revoke.ts';
import { showCertificates } from './certs-show.ts';

export interface CertsInit extends AuthorityPlan {
  readonly action: 'init';
}

export interface CertsIssue extends IssuePlan {
  readonly action: 'issue';
}

export interface CertsRevoke extends RevocationPlan {
  readonly action: 'revoke';
}

export interface CertsShow {
  readonly action: 'show';
  readonly dir: string;
  readonly json: boolean;
}

export type CertsOptions = CertsInit | CertsIssue | CertsRevoke | CertsShow;

/** Where the command writes; `process` is one. */
export interface CertsIo {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

/**
 * Runs the command.
 *
 * @param rotation how a rotation ends and waits; by default at the first SIGINT or SIGTERM
 * @returns the exit code: 0; 1 when a file is in the way, missing or wrong; 2 for a name that is none
 */
export async function runCerts(
  options: CertsOptions,
  io: CertsIo = process,
  rotation?: Pick<Rotation, 'stop' | 'wait'>,
): Promise<number> {
  const say = (line: string): void => void io.stdout.write(`${line}\n`);
  try {
    if (options.action === 'show') return await showCertificates(options.dir, { json: options.json, io });
    if (options.action === 'init') say(await makeAuthority(options));
    else if (options.action === 'revoke') say(await revoke(options));
    else if (!options.rotateEveryMs) say(await issueOnce(options));
    else {
      const warn = (line: string): void => void io.stderr.write(`outrider: ${line}\n`);
      await issueUntilStopped(options, options.rotateEveryMs, { stop: signalled(), ...rotation, say, warn });
    }
    return 0;
  } catch (error) {
    const complaint = complaintOf(error);
    if (complaint === null) throw error;
    io.stderr.write(`outrider: ${complaint.message}\n`);
    return complaint.exitCode;
  }
}

function signalled(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort());
  return controller.signal;
}
