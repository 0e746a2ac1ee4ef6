/** The webhook's own certificate in a folder, as cert-manager writes a TLS secret: watched, checked as a pair, the last good one kept. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FolderWatch } from '../identity/folder-watch.ts';

export interface WebhookCertificate {
  readonly certPem: string;
  readonly keyPem: string;
  /** Unix ms. */
  readonly notAfter: number;
}

export interface CertificateEvents {
  onChange(certificate: WebhookCertificate): void;
  /** What stands in the folder cannot be used; said once for each fault. */
  onFault(reason: string): void;
}

const NAMES = [
  ['tls.crt', 'tls.key'],
  ['cert-chain.pem', 'key.pem'],
] as const;
const POLL_MS = 2_000; // a hint may be lost
const DEBOUNCE_MS = 100; // the two files are written one after the other

/** Reads the folder. @throws Error with why its files cannot be used */
export function readWebhookCertificate(dir: string): WebhookCertificate {
  const [certName, keyName] = NAMES.find(([name]) => read(dir, name) !== null) ?? NAMES[0];
  const [certPem, keyPem] = [certName, keyName].map(name => {
    const text = read(dir, name);
    if (text === null)
      throw new Error(`${join(dir, name)} cannot be read; --certs names the folder of tls.crt and tls.key`);
    return text;
  }) as [string, string];
  const leaf = orFault(() => new X509Certificate(certPem), `${certName} holds no certificate`);
  const key = orFault(() => createPrivateKey(keyPem), `${keyName} holds no private key`);
  if (!leaf.checkPrivateKey(key)) throw new Error(`${keyName} does not belong to ${certName}`);
  return { certPem, keyPem, notAfter: Date.parse(leaf.validTo) };
}

function read(dir: string, name: string): string | null {
  try {
    return readFileSync(join(dir, name), 'utf8');
  } catch {
    return null;
  }
}

function orFault<T>(make: () => T, fault: string): T {
  try {
    return make();
  } catch {
    throw new Error(fault);
  }
}

/** Watches the folder until it is closed. */
export class WebhookCertificates {
  readonly #dir: string;
  readonly #events: CertificateEvents;
  readonly #watch: FolderWatch;
  readonly #poll: NodeJS.Timeout;
  #debounce: NodeJS.Timeout | undefined;
  #current: WebhookCertificate;
  #fault = '';

  /** @param first what the folder held; changes are told from it on */
  constructor(dir: string, first: WebhookCertificate, events: CertificateEvents) {
    this.#dir = dir;
    this.#events = events;
    this.#current = first;
    this.#watch = new FolderWatch(dir, () => this.#hint());
    this.#watch.renew();
    this.#poll = setInterval(() => {
      this.#watch.renew();
      this.#look();
    }, POLL_MS);
    this.#poll.unref();
  }

  get current(): WebhookCertificate {
    return this.#current;
  }

  close(): void {
    clearInterval(this.#poll);
    clearTimeout(this.#debounce);
    this.#watch.close();
  }

  #hint(): void {
    clearTimeout(this.#debounce);
    this.#debounce = setTimeout(() => this.#look(), DEBOUNCE_MS);
  }

  #look(): void {
    try {
      const found = readWebhookCertificate(this.#dir);
      this.#fault = '';
      if (found.certPem === this.#current.certPem && found.keyPem === this.#current.keyPem) return;
      this.#events.onChange(found);
      this.#current = found;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#fault) this.#events.onFault(reason);
      this.#fault = reason;
    }
  }
}
