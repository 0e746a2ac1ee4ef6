/** A folder of cases that Istio and Envoy decided, put to Outrider: what is equal, what is not. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCheck } from '../src/cli/check.ts';
import type { DecisionDifference, Verdict } from '../test/policy/stricter.ts';
import { runToEnd } from './istio-oracle.ts';

const ROOT = join(import.meta.dirname, '..');
const COMMAND_TIMEOUT_MS = 60_000;
/** Every so many manifests `check` is run as a command too, and must print what it printed here. */
const CHECK_COMMAND_EVERY = 20;

/** One case whose answers differ, or a whole folder that Outrider does not answer for. */
export type Difference =
  | (DecisionDifference & { readonly kind: 'explain'; readonly folder: string; readonly why: string })
  | {
      readonly kind: 'check';
      readonly folder: string;
      readonly file: string;
      readonly why: string;
      readonly expect: string;
      readonly got: string;
    }
  | { readonly kind: 'folder'; readonly folder: string; readonly cases: number; readonly why: string };

export interface Compared {
  readonly requests: number;
  /** Requests that the tool's client sent in other bytes than they are written in: not compared. */
  readonly misspelt: number;
  readonly manifests: number;
  readonly differences: readonly Difference[];
}

interface Case {
  readonly request: DecisionDifference['request'] & { readonly id: string };
  readonly expect: Verdict;
  readonly why: string;
}

/** Puts every case under the folder to Outrider. */
export async function compareCases(folder: string): Promise<Compared> {
  const explained = readdirSync(folder).filter(name => name !== 'checks');
  const differences: Difference[] = [];
  let requests = 0;
  let misspelt = 0;
  const next = explained.values();
  const worker = async () => {
    for (const name of next) {
      const compared = await compareDecisions(join(folder, name));
      requests += compared.cases;
      misspelt += compared.misspelt;
      differences.push(...compared.differences);
    }
  };
  await Promise.all([worker(), worker()]);
  const checked = await compareChecks(join(folder, 'checks'));
  const all = [...differences, ...checked.differences];
  return { requests, misspelt, manifests: checked.cases, differences: all };
}

interface Decided {
  readonly cases: number;
  readonly misspelt: number;
  readonly differences: Difference[];
}

async function compareDecisions(folder: string): Promise<Decided> {
  const all = jsonLines<Case>(readFileSync(join(folder, 'cases.jsonl'), 'utf8'));
  const cases = all.filter(({ request }) => !isMisspelt(request));
  const misspelt = all.length - cases.length;
  const requests = join(folder, 'requests.jsonl');
  writeFileSync(requests, cases.map(({ request }) => `${JSON.stringify(request)}\n`).join(''));
  const args = ['explain', '--config', folder, '--requests', requests, '--json'];
  const { code, stdout, stderr } = await outrider(args);
  const answers = new Map(jsonLines<Verdict & { id: string }>(stdout).map(answer => [answer.id, answer]));
  if (answers.size !== cases.length) {
    const why = `${answers.size} answers to ${cases.length} requests, exit ${code}: ${stderr.trim().slice(-500)}`;
    const differences: Difference[] = [{ kind: 'folder', folder, cases: cases.length, why }];
    return { cases: cases.length, misspelt, differences };
  }
  const differences: Difference[] = [];
  for (const { request, expect, why } of cases) {
    const got = answers.get(request.id) ?? {};
    if (!agrees(expect, got)) differences.push({ kind: 'explain', folder, request, expect, got, why });
  }
  return { cases: cases.length, misspelt, differences };
}

/** Over HTTP/2 the tool's client, Node's, writes header values in Latin-1; a described request is UTF-8, as is YAML. */
function isMisspelt({ protocol, request }: Case['request']): boolean {
  if (protocol !== 'http2' && protocol !== 'grpc') return false;
  return Object.values(request?.headers ?? {}).some(values => /[^\0-\x7f]/.test(values.join()));
}

/** Only what was expected is compared; null there means absent. */
export function agrees(expect: unknown, got: unknown): boolean {
  if (expect === null) return got === undefined || got === null;
  if (Array.isArray(expect)) {
    return (
      Array.isArray(got) && expect.length === got.length && expect.every((one, i) => agrees(one, got[i]))
    );
  }
  if (typeof expect !== 'object') return expect === got;
  if (typeof got !== 'object' || got === null) return false;
  return Object.entries(expect).every(([key, one]) => agrees(one, (got as Record<string, unknown>)[key]));
}

interface Check {
  readonly file: string;
  readonly expect: string;
  readonly why: string;
}

async function compareChecks(folder: string): Promise<{ cases: number; differences: Difference[] }> {
  const cases = jsonLines<Check>(readFileSync(join(folder, 'check.jsonl'), 'utf8'));
  const differences: Difference[] = [];
  for (const [i, { file, expect, why }] of cases.entries()) {
    const lines: string[] = [];
    const code = await runCheck([join(folder, file)], {
      json: true,
      print: line => lines.push(line),
      summarise: () => {},
    });
    const got = verdict(code, lines);
    // A warning where Istio has none is one of those that Outrider gives besides.
    const equal = got === expect || (expect === 'valid' && got === 'warning');
    if (!equal)
      differences.push({ kind: 'check', folder, file, expect, got: [got, ...lines].join('\n  '), why });
    if (i % CHECK_COMMAND_EVERY !== 0) continue;
    const command = await outrider(['check', '--json', join(folder, file)]);
    const said = `exit ${command.code}\n${command.stdout}`;
    const here = `exit ${code}\n${lines.map(line => `${line}\n`).join('')}`;
    if (said !== here) {
      differences.push({
        kind: 'check',
        folder,
        file,
        expect: here,
        got: said,
        why: 'the command says something else',
      });
    }
  }
  return { cases: cases.length, differences };
}

function verdict(code: number, lines: readonly string[]): string {
  const severities = lines.map(line => (JSON.parse(line) as { severity: string }).severity);
  if (severities.includes('error')) return code === 1 ? 'invalid' : `errors, but exit ${code}`;
  if (code !== 0) return `no error, but exit ${code}`;
  return severities.length > 0 ? 'warning' : 'valid';
}

function outrider(args: readonly string[]) {
  return runToEnd(process.execPath, [join(ROOT, 'src/main.ts'), ...args], {
    timeoutMs: COMMAND_TIMEOUT_MS,
    cwd: ROOT,
  });
}

function jsonLines<T>(text: string): T[] {
  return text
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as T);
}
