/**
 * Session tickets of a server. Every thread derives the same keys from one secret and from what is in force, so a ticket
 * is good on all threads, and on none as soon as certificates, trust or settings change: nobody has to be told.
 */
import { createHash, hkdfSync } from 'node:crypto';
import type { TlsOptions } from 'node:tls';
import type { Resumption, TlsMaterial } from './tls.ts';
import type { TlsSettings } from './tls-settings.ts';

/** How long a client that proved who it is may come back without proving it again, in seconds. */
export const TICKET_LIFETIME_S = 300;

const KEYS_BYTES = 48; // OpenSSL's: 16 of a name, 16 for the HMAC, 16 for AES
const CONTEXT_BYTES = 24; // in base64 the 32 that OpenSSL takes

type TicketOptions = Pick<TlsOptions, 'ticketKeys' | 'sessionIdContext' | 'sessionTimeout'>;

/**
 * What binds tickets to one listener under one epoch. The context is inside the ticket, so that a key alone, were it ever
 * the same, opens no door.
 */
export function ticketOptions(
  { secret, listener }: Resumption,
  material: TlsMaterial,
  tls: TlsSettings,
): TicketOptions {
  const epoch = createHash('sha256')
    .update(JSON.stringify([listener, { ...material, keyPem: '' }, tls])) // a new key comes with a new certificate
    .digest('hex');
  return {
    ticketKeys: derived(secret, `ticket keys ${epoch}`, KEYS_BYTES),
    sessionIdContext: derived(secret, `session context ${epoch}`, CONTEXT_BYTES).toString('base64'),
    sessionTimeout: TICKET_LIFETIME_S,
  };
}

function derived(secret: Uint8Array, what: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `outrider ${what}`, bytes));
}
