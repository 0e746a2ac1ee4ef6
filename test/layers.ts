/** The import rules of docs/ARCHITECTURE.md and the banned footguns, as data, and the functions that check a source by them. */

import { basename, posix } from 'node:path';

const LIBRARIES = ['net', 'http', 'identity', 'policy', 'upstream', 'telemetry'];

/** Layer → the layers it may import values from, besides itself. Types of `config` everyone may import. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  main: ['cli', 'app', 'config', 'errors'],
  cli: ['app', 'inject', 'proxy', ...LIBRARIES, 'config', 'errors'],
  app: ['worker', 'messages', 'admin', 'proxy', ...LIBRARIES, 'config', 'errors'],
  admin: [...LIBRARIES, 'config', 'errors'],
  inject: ['identity', 'telemetry', 'config', 'errors'],
  worker: ['messages', 'proxy', ...LIBRARIES, 'config', 'errors'],
  messages: ['proxy', ...LIBRARIES, 'config', 'errors'], // types only: what crosses threads is data
  proxy: [...LIBRARIES, 'config', 'errors'],
  ...Object.fromEntries(LIBRARIES.map(name => [name, ['errors']])),
  config: ['errors'],
  errors: [],
};

/** Files beside app.ts that are parts of it. */
const LAYER_OF_FILE: Readonly<Record<string, string>> = {
  child: 'app',
  'handed-over': 'app',
  'own-identity': 'app',
  status: 'app',
  workers: 'app',
};

interface Ban {
  readonly pattern: RegExp;
  readonly reason: string;
  /** Paths under src/ where it is the right thing. */
  readonly except?: RegExp;
}

const FOOTGUNS: readonly Ban[] = [
  {
    pattern: /\bnew (?:tls\.)?TLSSocket\(/,
    reason: 'does not verify the client certificate on the server side',
  },
  {
    pattern: /\bSNICallback\b/,
    reason: 'is not called on resumption: a ticket of one trust passes under another',
  },
  {
    pattern: /\bprocess\.exit\(/,
    reason: 'cuts off requests and logs; only main.ts ends the process',
    except: /^main\.ts$/,
  },
  {
    pattern: /\bprocess\.env\b/,
    reason: 'is read in config/ only, where flags and files are weighed',
    except: /^config\//,
  },
  {
    pattern: /\bconsole\.(?:log|error|warn|info|debug|dir|table|trace)\(|\bprocess\.stdout\b/,
    reason: 'standard output belongs to the command line and the access log',
    except: /^(?:cli|telemetry)\/|^main\.ts$/,
  },
  { pattern: /(?:[:<|&,]|\bas)\s*any\b(?!\s*(?:\|\||&&|[?:(.]))/, reason: '`any` switches the checker off' },
  { pattern: /\brejectUnauthorized: true\b/, reason: 'closes without a reason that a log could name' },
];

/** Packages that cost tens of milliseconds and megabytes: imported when they are needed, not at start. */
const LAZY_PACKAGES = /^(?:@opentelemetry\/(?!api$)|@peculiar\/x509$|prom-client$|jose$|@grpc\/|protobufjs)/;

const VAGUE_NAME = /^(?:utils?|helpers?|common|misc|shared|types|managers?)(?:[.-]|$)/;

export interface Import {
  readonly specifier: string;
  readonly kind: 'value' | 'type' | 'lazy';
}

/** Every fault of one source; `path` is relative to src/, with forward slashes. */
export function faultsOf(path: string, source: string): string[] {
  const code = withoutComments(source);
  const imports = importsOf(code);
  return [...nameFaults(path), ...imports.flatMap(one => importFaults(path, one)), ...footguns(path, code)];
}

/** The imports of a source without comments: static, re-exported and dynamic, in order of kind. */
export function importsOf(code: string): Import[] {
  const found: Import[] = [];
  for (const [, type, specifier = ''] of code.matchAll(
    /^\s*(?:import|export)\s+(type\s+)?(?:[\w$*{][^'";]*?\sfrom\s+)?['"]([^'"\n]+)['"]/gm,
  )) {
    found.push({ specifier, kind: type === undefined ? 'value' : 'type' });
  }
  for (const { 1: specifier = '', index } of code.matchAll(/\bimport\(\s*['"]([^'"\n]+)['"]/g)) {
    const inType = /(?:\btypeof|\bas|[:<|&])\s*$/.test(code.slice(0, index));
    found.push({ specifier, kind: inType ? 'type' : 'lazy' });
  }
  return found;
}

function importFaults(path: string, { specifier, kind }: Import): string[] {
  const fault = (reason: string) => [`src/${path} must not import '${specifier}': ${reason}`];
  if (/^node:(?:net|tls)$/.test(specifier)) {
    return kind === 'type' || layerOf(path) === 'net'
      ? []
      : fault('only net/ opens sockets; types may be imported');
  }
  if (!specifier.startsWith('.')) {
    // `demo` is itself loaded when it is asked for.
    const heavy = LAZY_PACKAGES.test(specifier) || (specifier === 'undici' && layerOf(path) !== 'cli');
    return kind === 'value' && heavy ? fault('slow to load; import it dynamically') : [];
  }
  const target = posix.join(posix.dirname(path), specifier);
  if (target.startsWith('../')) return target === '../package.json' ? [] : fault('outside src/');
  const [from, to] = [layerOf(path), layerOf(target)];
  if (from === 'messages' && kind !== 'type') return fault('messages are plain data: types only');
  if (from === to || MAY_IMPORT[from]?.includes(to)) return [];
  if (to === 'config' && kind === 'type') return [];
  return fault(`${from} may import ${MAY_IMPORT[from]?.join(', ') || 'no layer'}`);
}

function layerOf(path: string): string {
  const [first = '', second] = path.split('/');
  if (second !== undefined) return first;
  const name = basename(first, '.ts');
  return LAYER_OF_FILE[name] ?? name;
}

function nameFaults(path: string): string[] {
  const name = basename(path);
  if (!(layerOf(path) in MAY_IMPORT)) return [`src/${path} is in no layer of test/layers.ts`];
  if (VAGUE_NAME.test(name)) return [`src/${path}: the name says nothing; use the field's word`];
  return /^[a-z0-9]+(?:-[a-z0-9]+)*\.ts$/.test(name) ? [] : [`src/${path}: file names are kebab-case`];
}

function footguns(path: string, code: string): string[] {
  const bare = withoutTexts(code);
  return FOOTGUNS.flatMap(({ pattern, reason, except }) => {
    const match = except?.test(path) ? null : pattern.exec(bare);
    if (match === null) return [];
    const line = bare.slice(0, match.index).split('\n').length;
    return [`src/${path}:${line} has \`${match[0].trim()}\`: ${reason}`];
  });
}

/** Quoted texts emptied; of a template only the expressions in it are left. */
function withoutTexts(code: string): string {
  return code.replace(/'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g, text => {
    if (!text.startsWith('`')) return "''";
    return `(${text.replace(/\$\{([^}]*)\}|[^\n]/g, (_, expression = '') => expression)})`;
  });
}

/** Comments blanked out, lines kept; a `//` inside a string or template is not a comment. */
export function withoutComments(source: string): string {
  return source.replace(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g,
    found => (found.startsWith('/') ? found.replace(/[^\n]/g, ' ') : found),
  );
}
