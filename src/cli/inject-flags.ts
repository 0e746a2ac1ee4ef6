/** The flags of `inject`, and those that `webhook` has of them. */
import manifest from '../../package.json' with { type: 'json' };
import { readChoice, readName, readNonEmpty } from './flag-values.ts';
import { all, type Flag, type Line, one, type Parsed, parse, type Usage, WrongLine } from './flags.ts';

const IDENTITIES = ['csi', 'spire', 'secret'] as const;
const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'] as const;

/** What is put beside an app. */
export interface SidecarFlags {
  readonly image: string;
  /** null = the sidecar's. */
  readonly captureImage: string | null;
  readonly imagePullPolicy: (typeof PULL_POLICIES)[number] | null;
  readonly identity: (typeof IDENTITIES)[number];
  readonly spireSocket: string;
  readonly configMap: string | null;
  readonly classic: boolean;
  /** A file; null = the template that comes with Outrider. */
  readonly template: string | null;
}

export interface InjectFlags extends SidecarFlags {
  /** In the order given; `-` is standard input. */
  readonly files: readonly string[];
}

export const SIDECAR_FLAGS: readonly Flag[] = [
  { name: 'image', value: 'NAME', help: `the sidecar's image; default outrider:${manifest.version}` },
  {
    name: 'capture-image',
    value: 'NAME',
    help: 'of the init container that makes the capture rules, where it is to be another; default as --image',
  },
  { name: 'image-pull-policy', value: PULL_POLICIES.join('|'), help: "default Kubernetes' own" },
  {
    name: 'identity',
    value: IDENTITIES.join('|'),
    help: "where certificates come from: cert-manager's csi-driver-spiffe (default), SPIRE's agent, or a TLS secret\noutrider.SERVICE-ACCOUNT",
  },
  {
    name: 'spire-socket',
    value: 'NAME',
    help: "the agent's socket in the folder that SPIFFE's CSI driver mounts; default spire-agent.sock",
  },
  {
    name: 'config-map',
    value: 'NAME',
    help: "policies and mesh config, in the pod's namespace; default none",
  },
  {
    name: 'classic',
    value: null,
    help: 'the sidecar among the containers and not as a native one: for Kubernetes before 1.29',
  },
  { name: 'template', value: 'FILE', help: 'in the form of config/inject/sidecar.yaml' },
];

export const INJECT_USAGE: Usage = {
  command: 'inject',
  synopsis: 'inject -f FILE [flags]',
  about:
    'Manifests in, the same manifests with the sidecar in every pod out, on standard output. Deployments, StatefulSets,\n' +
    "DaemonSets, ReplicaSets, Jobs, CronJobs, Pods and Lists; other kinds pass as they are. Istio's annotations are\n" +
    'honoured; what is not, and what is left as it is, is a line on standard error. A second run changes nothing.\n' +
    'Exit code 1 and no output when a file is wrong.',
  positionals: null,
  flags: [
    {
      name: 'file',
      short: 'f',
      value: 'FILE',
      many: true,
      help: 'manifests; - for standard input (repeatable)',
    },
    ...SIDECAR_FLAGS,
  ],
};

/** Parses the line of `inject`. */
export function parseInject(args: readonly string[]): Parsed<InjectFlags> {
  return parse(INJECT_USAGE, args, line => {
    const files = all(line, 'file').map(text =>
      readNonEmpty('--file', text, 'a file, or - for standard input'),
    );
    if (files.length === 0) throw new WrongLine('-f FILE is needed; - for standard input');
    if (files.filter(file => file === '-').length > 1) throw new WrongLine('-f - is given twice; keep one');
    return { files, ...readSidecar(line) };
  });
}

/** The flags of SIDECAR_FLAGS. */
export function readSidecar(line: Line): SidecarFlags {
  const read = <T>(flag: string, as: (name: string, text: string) => T): T | null => {
    const text = one(line, flag);
    return text === null ? null : as(`--${flag}`, text);
  };
  const identity = read('identity', (name, text) => readChoice(name, text, IDENTITIES)) ?? 'csi';
  const spireSocket = read('spire-socket', readFileName);
  if (spireSocket !== null && identity !== 'spire')
    throw new WrongLine('--spire-socket goes with --identity spire');
  return {
    image: read('image', readImage) ?? `outrider:${manifest.version}`,
    captureImage: read('capture-image', readImage),
    imagePullPolicy: read('image-pull-policy', (name, text) => readChoice(name, text, PULL_POLICIES)),
    identity,
    spireSocket: spireSocket ?? 'spire-agent.sock',
    configMap: read('config-map', readName),
    classic: line.values.has('classic'),
    template: read('template', (name, text) => readNonEmpty(name, text, 'a file')),
  };
}

function readImage(name: string, text: string): string {
  if (/^[^\s]+$/.test(text)) return text;
  throw new WrongLine(`${name} must be the name of an image, not ${JSON.stringify(text)}`);
}

function readFileName(name: string, text: string): string {
  if (/^[\w.-]+$/.test(text) && !/^\.+$/.test(text)) return text;
  throw new WrongLine(`${name} must be the name of a file, not ${JSON.stringify(text)}`);
}
