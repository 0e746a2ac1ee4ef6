/** What the session of an external server is kept with; a workload's identity is its own proof. */
import { readCertificate } from '../identity/certificate.ts';
import type { HandshakeFacts, Judgement } from '../net/tls.ts';

/** The judgement with the certificates that it rests on, as they came: the first of them to expire ends the session. */
export function withProof<V>(judgement: Judgement<V>, { der, signers }: HandshakeFacts): Judgement<V> {
  if (!judgement.ok || der === null) return judgement;
  const chain = [der, ...signers()];
  let validUntil = Number.POSITIVE_INFINITY;
  for (const certificate of chain) {
    const fields = readCertificate(certificate);
    if (fields === null) return judgement;
    validUntil = Math.min(validUntil, fields.notAfter);
  }
  return { ...judgement, proof: { chain, validUntil } };
}
