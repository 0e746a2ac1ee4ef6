/** The line of `outrider certs`. */
import { readChoice, readDnsName, readDuration, readName, readWhole } from './flag-values.ts';
import { all, type Line, one, type Parsed, parse, type Usage, WrongLine } from './flags.ts';

export type CertsSettings =
  | {
      readonly action: 'init';
      readonly dir: string;
      readonly trustDomain: string;
      readonly days: number;
      /** Replaces a CA that is there. */
      readonly force: boolean;
    }
  | {
      readonly action: 'issue';
      /** The folder of the development CA. */
      readonly ca: string;
      /** Where the three files go. */
      readonly dir: string;
      readonly namespace: string;
      readonly serviceAccount: string;
      readonly ttlMs: number;
      /** Issues anew this often until a signal; null = once. */
      readonly rotateEveryMs: number | null;
      /** The whole SPIFFE ID in place of namespace and service account; null = made of them. */
      readonly spiffeId: string | null;
      /** DNS names besides it, for clients that compare host names, such as curl. */
      readonly dnsNames: readonly string[];
    }
  | {
      readonly action: 'revoke';
      readonly ca: string;
      /** Folders of certificates, or serials. */
      readonly targets: readonly string[];
      /** Folders that get the lists besides the CA's own. */
      readonly outs: readonly string[];
      readonly ttlMs: number;
    }
  | { readonly action: 'show'; readonly dir: string; readonly json: boolean };

const CA_DIR = './certs/ca';
const CERTS_DIR = './certs';

export const CERTS_USAGE: Usage = {
  command: 'certs',
  synopsis: 'certs init|issue|revoke|show [SPIFFE_ID] [DIR] [flags]',
  about:
    'certs init [DIR]   makes a development CA, a root and an intermediate, in DIR (default ./certs/ca)\n' +
    'certs issue [SPIFFE_ID] [DIR]  makes cert-chain.pem, key.pem and root-cert.pem in DIR (default ./certs), all of\n' +
    '                   them at once: a swap of ..data, as Kubernetes writes a volume\n' +
    'certs revoke [DIR|SERIAL …]  adds the certificate of a folder, or a serial, to the lists in the folder of the CA,\n' +
    '                   crl.pem; without one the lists are signed anew\n' +
    'certs show [DIR]   says what is in a certificate folder (default ./certs), and whether run would take it',
  positionals: 'init|issue|revoke|show [SPIFFE_ID] [DIR]',
  flags: [
    { name: 'trust-domain', value: 'NAME', help: 'init: default cluster.local' },
    { name: 'days', value: 'N', help: "init: the CA's life; default 3650" },
    { name: 'ca', value: 'DIR', help: 'issue, revoke: the folder that init made; default ./certs/ca' },
    { name: 'namespace', value: 'NAME', help: 'issue: default "default"' },
    { name: 'service-account', value: 'NAME', help: 'issue: default "default"' },
    { name: 'id', value: 'SPIFFE-ID', help: 'issue: as SPIFFE_ID on the line' },
    {
      name: 'ttl',
      value: 'DURATION',
      help: "issue: the certificate's life, such as 1h or 90s; default 24h; revoke: how long the lists count; default 720h",
    },
    { name: 'hours', value: 'N', help: 'issue: the same in whole hours' },
    {
      name: 'rotate-every',
      value: 'DURATION',
      help: 'issue: a new certificate this often, one line each, until SIGINT or SIGTERM',
    },
    {
      name: 'dns',
      value: 'NAME',
      many: true,
      help: 'issue: a DNS name besides the SPIFFE ID, for curl --cacert; default localhost',
    },
    { name: 'dir', value: 'DIR', help: 'the folder, as DIR on the line' },
    {
      name: 'out',
      value: 'DIR',
      many: true,
      help: 'issue: the same; revoke: a folder that gets crl.pem too',
    },
    { name: 'force', value: null, help: 'init: replace a CA that is there' },
    { name: 'json', value: null, help: 'show: as JSON' },
  ],
};

const CERTS_FLAGS: Readonly<Record<CertsSettings['action'], readonly string[]>> = {
  init: ['trust-domain', 'days', 'dir', 'force'],
  issue: ['ca', 'namespace', 'service-account', 'id', 'ttl', 'hours', 'rotate-every', 'dns', 'dir', 'out'],
  revoke: ['ca', 'ttl', 'out'],
  show: ['json', 'dir'],
};

/** Parses the line of `certs`. */
export function parseCerts(args: readonly string[]): Parsed<CertsSettings> {
  return parse(CERTS_USAGE, args, line => {
    const [first, ...others] = line.positionals;
    if (first === undefined) throw new WrongLine('say which: init, issue, revoke or show');
    const named = first === 'issue' && others[0]?.startsWith('spiffe:') ? (others.shift() ?? null) : null;
    const action = readChoice('the word after certs', first, ['init', 'issue', 'revoke', 'show']);
    const foreign = [...line.values.keys()].find(name => !CERTS_FLAGS[action].includes(name));
    if (foreign) throw new WrongLine(`--${foreign} has no meaning for certs ${action}`);
    if (action === 'revoke') {
      const ttlMs = read(line, 'ttl', (name, text) => readDuration(name, text, SECOND_MS, LONGEST_MS));
      const ca = one(line, 'ca') ?? CA_DIR;
      return { action, ca, targets: others, outs: all(line, 'out'), ttlMs: ttlMs ?? LISTS_MS };
    }
    const [positional = null, extra] = others;
    if (extra !== undefined) throw new WrongLine(`unexpected ${JSON.stringify(extra)}`);
    const given = [positional, one(line, 'dir'), ...all(line, 'out')].filter(path => path !== null);
    if (given.length > 1) throw new WrongLine('name the folder once: DIR, --dir or --out');
    const dir = given[0] ?? (action === 'init' ? CA_DIR : CERTS_DIR);
    if (action === 'show') return { action, dir, json: line.values.has('json') };
    if (action === 'init') {
      const trustDomain = one(line, 'trust-domain') ?? 'cluster.local';
      const days = read(line, 'days', (name, text) => readWhole(name, text, 1, 36_500)) ?? 3_650;
      return { action, dir, trustDomain, days, force: line.values.has('force') };
    }
    if (named !== null && line.values.has('id'))
      throw new WrongLine('--id and SPIFFE_ID say the same; keep one');
    const spiffeId = named ?? one(line, 'id');
    const other = ['namespace', 'service-account'].find(name => line.values.has(name));
    if (line.values.has('id') && other) throw new WrongLine(`--${other} is part of --id; keep one`);
    return {
      action,
      dir,
      ca: one(line, 'ca') ?? CA_DIR,
      namespace: read(line, 'namespace', readName) ?? 'default',
      serviceAccount: read(line, 'service-account', readName) ?? 'default',
      ...readLife(line),
      spiffeId,
      dnsNames: line.values.has('dns')
        ? all(line, 'dns').map(name => readDnsName('--dns', name))
        : ['localhost'],
    };
  });
}

const HOUR_MS = 3_600_000;
const SECOND_MS = 1_000;
const LISTS_MS = 30 * 24 * HOUR_MS;
const LONGEST_MS = 876_000 * HOUR_MS; // a hundred years
const ROTATION_MS = 24 * 24 * HOUR_MS; // a timer of Node counts to 24.8 days

function readLife(line: Line): { ttlMs: number; rotateEveryMs: number | null } {
  if (line.values.has('ttl') && line.values.has('hours')) {
    throw new WrongLine('--ttl and --hours say the same; keep one');
  }
  const hours = read(line, 'hours', (name, text) => readWhole(name, text, 1, 876_000));
  const ttl = read(line, 'ttl', (name, text) => readDuration(name, text, SECOND_MS, LONGEST_MS));
  const ttlMs = ttl ?? (hours ?? 24) * HOUR_MS;
  const rotateEveryMs = read(line, 'rotate-every', (name, text) =>
    readDuration(name, text, SECOND_MS, ROTATION_MS),
  );
  if (rotateEveryMs !== null && rotateEveryMs >= ttlMs) {
    throw new WrongLine('--rotate-every must be shorter than the life of the certificate (--ttl)');
  }
  return { ttlMs, rotateEveryMs };
}

function read<T>(line: Line, flag: string, as: (name: string, text: string) => T): T | null {
  const text = one(line, flag);
  return text === null ? null : as(`--${flag}`, text);
}
