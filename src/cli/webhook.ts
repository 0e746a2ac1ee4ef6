/** `outrider webhook`: the injection of `outrider inject` as Kubernetes' mutating admission webhook. */
import type { HostPort } from '../config/settings.ts';
import { startWebhook, type Webhook } from '../inject/webhook-server.ts';
import { flushLog, log } from '../telemetry/log.ts';
import { readHostPort, readNonEmpty } from './flag-values.ts';
import { one, type Parsed, parse, type Usage } from './flags.ts';
import { settingsOf } from './inject.ts';
import { readSidecar, SIDECAR_FLAGS, type SidecarFlags } from './inject-flags.ts';

const CERTS = '/etc/outrider/webhook';
const LISTEN = { host: '0.0.0.0', port: 8443 };
const GRACE_MS = 5_000; // as long as endpoints take to reach every API server

export interface WebhookFlags extends SidecarFlags {
  readonly listen: HostPort;
  readonly certs: string;
}

const USAGE: Usage = {
  command: 'webhook',
  synopsis: 'webhook [flags]',
  about:
    'Puts the sidecar into pods when they are made: a mutating admission webhook, POST /inject over TLS. Which pods it\n' +
    'is asked about is said in its MutatingWebhookConfiguration; config/kubernetes/ installs both. Health: /healthz/ready\n' +
    'and /healthz/live on the same port.',
  positionals: null,
  flags: [
    { name: 'listen', value: '[HOST:]PORT', help: `default ${LISTEN.host}:${LISTEN.port}` },
    { name: 'certs', value: 'DIR', help: `tls.crt and tls.key; watched; default ${CERTS}` },
    ...SIDECAR_FLAGS,
  ],
};

/** Parses the line of `webhook`. */
export function parseWebhook(args: readonly string[]): Parsed<WebhookFlags> {
  return parse(USAGE, args, line => {
    const [listen, certs] = [one(line, 'listen'), one(line, 'certs')];
    return {
      ...readSidecar(line),
      listen: listen === null ? LISTEN : readHostPort('--listen', listen, LISTEN.host),
      certs: certs === null ? CERTS : readNonEmpty('--certs', certs, 'a folder'),
    };
  });
}

/** The command: runs until SIGTERM or SIGINT. @returns the exit code: 1 when it does not start */
export async function runWebhook(flags: WebhookFlags): Promise<0 | 1> {
  const settings = settingsOf(flags);
  if (typeof settings === 'string') {
    process.stderr.write(`outrider: ${settings}\n`);
    return 1;
  }
  let webhook: Webhook;
  try {
    webhook = await startWebhook({ listen: flags.listen, certs: flags.certs, settings });
  } catch (error) {
    process.stderr.write(`outrider: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
  const told = signalled();
  const { host, port } = webhook.address;
  const notAfter = new Date(webhook.notAfter).toISOString();
  const listen = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  process.stderr.write(`${JSON.stringify({ msg: 'ready', listen, notAfter })}\n`);
  const why = await told;
  log.info('draining', { why });
  const again = signalled(); // a second signal is impatience
  await Promise.race([webhook.close(GRACE_MS), again]);
  await flushLog();
  return 0;
}

function signalled(): Promise<string> {
  return new Promise(resolve => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve(name));
  });
}
