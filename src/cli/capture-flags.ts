/** The line of `capture`, and the annotations of the pod that it stands for. */
import { readFileSync } from 'node:fs';
import { isAddressOrRange } from '../config/addresses.ts';
import { parseDownwardLabels } from '../config/pod-files.ts';
import type { CaptureRules, Ports } from './capture-rules.ts';
import { readChoice, readNonEmpty, readWhole, shown } from './flag-values.ts';
import { all, type Line, one, type Parsed, parse, type Usage, WrongLine } from './flags.ts';

export interface CaptureSettings {
  readonly action: 'apply' | 'remove' | 'print';
  readonly backend: 'iptables' | 'nft' | 'netlink' | 'auto';
  /** IPv6 where the host has it. */
  readonly ipv6: 'auto' | 'on' | 'off';
  /** null = the pod's annotations say that nothing is captured (interceptionMode NONE). */
  readonly rules: Omit<CaptureRules, 'ipv6'> | null;
  /** What the annotations ask for that is not done. */
  readonly warnings: readonly string[];
}

const ACTIONS = ['apply', 'remove', 'print'] as const;
const BACKENDS = ['auto', 'iptables', 'nft', 'netlink'] as const;
const MODES = ['redirect', 'tproxy'] as const;
const IPV6 = ['auto', 'on', 'off'] as const;
const OUTRIDER = 1337; // Istio's user and group of the sidecar
const MAX_ID = 4_294_967_294;
const INTERCEPTION = 'sidecar.istio.io/interceptionMode';

/** Flags that an annotation of Istio's stands behind. */
const ANNOTATED: Readonly<Record<string, string>> = {
  'include-inbound-ports': 'traffic.sidecar.istio.io/includeInboundPorts',
  'exclude-inbound-ports': 'traffic.sidecar.istio.io/excludeInboundPorts',
  'include-outbound-ports': 'traffic.sidecar.istio.io/includeOutboundPorts',
  'exclude-outbound-ports': 'traffic.sidecar.istio.io/excludeOutboundPorts',
  'include-outbound-ranges': 'traffic.sidecar.istio.io/includeOutboundIPRanges',
  'exclude-outbound-ranges': 'traffic.sidecar.istio.io/excludeOutboundIPRanges',
  'exclude-interfaces': 'traffic.sidecar.istio.io/excludeInterfaces',
};
const NOT_HONOURED = ['traffic.sidecar.istio.io/kubevirtInterfaces', 'istio.io/reroute-virtual-interfaces'];

export const CAPTURE_USAGE: Usage = {
  command: 'capture',
  synopsis: 'capture apply|remove|print [flags]',
  about:
    'The rules that lead connections to the sidecar: inbound ones of every port, and what the app connects to. apply puts\n' +
    'them in force, again if they are there; remove takes away what apply made and nothing else; print writes them.\n' +
    'Needs the capabilities NET_ADMIN and NET_RAW, and no other program: without iptables-restore and nft it speaks with\n' +
    'the kernel itself.',
  positionals: 'apply|remove|print',
  flags: [
    {
      name: 'backend',
      value: BACKENDS.join('|'),
      help: 'auto takes iptables where it is there, else nft,\nelse netlink: the same rules as nft, without it',
    },
    {
      name: 'mode',
      value: MODES.join('|'),
      help: 'how inbound connections are led; default redirect. As --capture of run',
    },
    {
      name: 'annotations',
      value: 'FILE',
      help: "the pod's annotations by the downward API: Istio's names, where no flag says otherwise",
    },
    { name: 'include-inbound-ports', value: 'P,…', help: 'ports and ranges (80,8000-8100); default *, all' },
    { name: 'exclude-inbound-ports', value: 'P,…', help: "besides the sidecar's own" },
    { name: 'include-outbound-ports', value: 'P,…', help: 'captured whatever their address' },
    { name: 'exclude-outbound-ports', value: 'P,…', help: 'not captured, besides 53 (DNS)' },
    {
      name: 'include-outbound-ranges',
      value: 'CIDR,…',
      help: 'addresses and ranges, of both families; default *, all',
    },
    { name: 'exclude-outbound-ranges', value: 'CIDR,…', help: 'not captured' },
    { name: 'exclude-interfaces', value: 'NAME,…', help: 'what comes or goes by them is not captured' },
    {
      name: 'uid',
      value: 'N',
      many: true,
      help: `the sidecar's user, whose connections are not captured; default ${OUTRIDER} (repeatable)`,
    },
    { name: 'gid', value: 'N', many: true, help: `the sidecar's group; default ${OUTRIDER} (repeatable)` },
    { name: 'inbound-port', value: 'N', help: "the sidecar's inbound port; default 15006" },
    { name: 'outbound-port', value: 'N', help: "the sidecar's outbound port; default 15001" },
    { name: 'ipv6', value: IPV6.join('|'), help: 'auto captures IPv6 where the host has it' },
  ],
};

/** Parses the line of `capture`. */
export function parseCapture(args: readonly string[]): Parsed<CaptureSettings> {
  return parse(CAPTURE_USAGE, args, line => {
    const [action = '', extra] = line.positionals;
    if (extra !== undefined) throw new WrongLine(`unexpected ${shown(extra)}; one action is done`);
    if (action === '') throw new WrongLine('name what to do: apply, remove or print');
    const source = new Source(line);
    return {
      action: readChoice('the action', action, ACTIONS),
      backend: readChoice('--backend', one(line, 'backend') ?? 'auto', BACKENDS),
      ipv6: readChoice('--ipv6', one(line, 'ipv6') ?? 'auto', IPV6),
      rules: readRules(source),
      warnings: NOT_HONOURED.filter(name => source.annotations[name] !== undefined).map(
        name => `the annotation ${name} is not honoured`,
      ),
    };
  });
}

/** Flags first, then annotations. */
class Source {
  readonly line: Line;
  readonly annotations: Readonly<Record<string, string>>;

  constructor(line: Line) {
    this.line = line;
    const file = one(line, 'annotations');
    this.annotations = file === null ? {} : readAnnotations(file);
  }

  list<T>(flag: string, read: (name: string, items: readonly string[]) => T): T | null {
    const given = one(this.line, flag);
    if (given !== null) return read(`--${flag}`, itemsOf(given));
    const annotation = ANNOTATED[flag] ?? '';
    const text = this.annotations[annotation];
    return text === undefined ? null : read(annotation, itemsOf(text));
  }

  /** `null` = the flag is not given, or says *. */
  orAll<T>(flag: string, read: (name: string, items: readonly string[]) => T): T | null {
    return this.list(flag, (name, items) =>
      items.length === 1 && items[0] === '*' ? null : read(name, items),
    );
  }

  port(flag: string, fallback: number): number {
    const text = one(this.line, flag);
    return text === null ? fallback : readWhole(`--${flag}`, text, 1, 65_535);
  }

  ids(flag: string): readonly number[] {
    const given = all(this.line, flag).map(text => readWhole(`--${flag}`, text, 0, MAX_ID));
    return given.length > 0 ? given : [OUTRIDER];
  }
}

function readAnnotations(file: string): Readonly<Record<string, string>> {
  try {
    return parseDownwardLabels(readFileSync(readNonEmpty('--annotations', file, 'a file'), 'utf8'));
  } catch (error) {
    if (error instanceof WrongLine) throw error;
    throw new WrongLine(`--annotations: ${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function readRules(source: Source): CaptureSettings['rules'] {
  const mode = readMode(source);
  if (mode === null) return null;
  return {
    mode,
    inboundPort: source.port('inbound-port', 15_006),
    outboundPort: source.port('outbound-port', 15_001),
    uids: source.ids('uid'),
    gids: source.ids('gid'),
    includeInboundPorts: source.orAll('include-inbound-ports', readPorts),
    excludeInboundPorts: source.list('exclude-inbound-ports', readPorts) ?? [],
    includeOutboundPorts: source.list('include-outbound-ports', readPorts) ?? [],
    excludeOutboundPorts: source.list('exclude-outbound-ports', readPorts) ?? [],
    includeOutboundRanges: source.orAll('include-outbound-ranges', readRanges),
    excludeOutboundRanges: source.list('exclude-outbound-ranges', readRanges) ?? [],
    excludeInterfaces: source.list('exclude-interfaces', readInterfaces) ?? [],
  };
}

function readMode({ line, annotations }: Source): CaptureRules['mode'] | null {
  const given = one(line, 'mode');
  if (given !== null) return readChoice('--mode', given, MODES);
  const said = (annotations[INTERCEPTION] ?? '').toLowerCase();
  if (said === '') return 'redirect';
  return said === 'none' ? null : readChoice(INTERCEPTION, said, MODES);
}

function itemsOf(text: string): readonly string[] {
  return text
    .split(',')
    .map(item => item.trim())
    .filter(item => item !== '');
}

/** Istio writes a range `a-b`, iptables `a:b`. */
function readPorts(name: string, items: readonly string[]): Ports {
  return items.map(item => {
    const [, first = '', last = first] = /^(\d{1,5})(?:[-:](\d{1,5}))?$/.exec(item) ?? [];
    const from = Number(first || Number.NaN);
    const to = Number(last || Number.NaN);
    if (from >= 1 && from <= to && to <= 65_535) return [from, to];
    throw new WrongLine(`${name} must be ports such as 80,8000-8100, not ${shown(item)}`);
  });
}

function readRanges(name: string, items: readonly string[]): readonly string[] {
  for (const item of items) {
    if (!isAddressOrRange(item) || item.includes('%'))
      throw new WrongLine(`${name} must be addresses or ranges such as 10.0.0.0/8, not ${shown(item)}`);
  }
  return items;
}

/** As iptables takes them; a final + stands for the rest of a name. */
function readInterfaces(name: string, items: readonly string[]): readonly string[] {
  for (const item of items) {
    if (!/^[A-Za-z0-9_.@:-]{1,14}[A-Za-z0-9_.@:+-]?$/.test(item) || item.startsWith('-'))
      throw new WrongLine(`${name} must be names of interfaces such as eth1, not ${shown(item)}`);
  }
  return items;
}
