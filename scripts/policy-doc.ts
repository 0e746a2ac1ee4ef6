/**
 * `node scripts/policy-doc.ts`: runs the commands shown in docs/POLICY.md and writes what they print into it, so that the
 * page cannot say what the program does not. A block of ```console has commands after `$ `, a backslash continuing one, and
 * under each what it prints on both outputs. The blocks of a page share no variables; the commands of a block do. The table of
stricter behaviours is written from its list.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { STRICTER } from '../test/policy/stricter.ts';
import { runToEnd } from './istio-oracle.ts';

const ROOT = join(import.meta.dirname, '..');
export const POLICY_DOC = join(ROOT, 'docs/POLICY.md');
const BLOCK_TIMEOUT_MS = 60_000;
const BLOCK = /^```console\n([\s\S]*?)^```$/gm;
const TABLE = /^(## Stricter than Istio\n[\s\S]*?\| -- \|.*\n)(?:.+\n)*/m;
const END = '\u001e'; // between the outputs of two commands

/** The page with every output, and the table of stricter behaviours, made anew. */
export async function freshPage(page: string): Promise<string> {
  const rows = STRICTER.map(({ id, what, why }) => `| \`${id}\` | ${what} | ${why} |`);
  return withFreshOutputs(page.replace(TABLE, (_, head) => `${head}${rows.join('\n')}\n`));
}

async function withFreshOutputs(page: string): Promise<string> {
  const blocks = [...page.matchAll(BLOCK)].map(([, body = '']) => body);
  const fresh: string[] = [];
  for (const body of blocks) fresh.push(await runBlock(commandsOf(body)));
  let next = 0;
  return page.replace(BLOCK, () => `\`\`\`console\n${fresh[next++]}\`\`\``);
}

/** The commands of a block, each as it is written: with its continued lines. */
export function commandsOf(body: string): string[] {
  return [...body.matchAll(/^\$ ((?:.*\\\n)*.*)$/gm)].map(([, command = '']) => command);
}

async function runBlock(commands: readonly string[]): Promise<string> {
  const script = [
    'exec 2>&1',
    `outrider() { node '${join(ROOT, 'src/main.ts')}' "$@"; }`,
    ...commands.map(command => `${command}\nprintf '${END}'`),
  ].join('\n');
  const scratch = mkdtempSync(join(tmpdir(), 'outrider-policy-doc-'));
  const path = `${dirname(process.execPath)}${delimiter}${process.env.PATH}`;
  const env = { ...process.env, PATH: path, TMPDIR: scratch };
  const ended = await runToEnd('sh', ['-c', script], { timeoutMs: BLOCK_TIMEOUT_MS, env, cwd: ROOT });
  rmSync(scratch, { recursive: true });
  const outputs = ended.stdout.split(END);
  if (outputs.length !== commands.length + 1)
    throw new Error(`a block did not run to its end:\n${ended.stdout}`);
  return commands
    .map(
      (command, i) =>
        `${i > 0 && outputs[i - 1] !== '' ? '\n' : ''}$ ${command}\n${asLines(outputs[i] ?? '')}`,
    )
    .join('');
}

function asLines(output: string): string {
  return output === '' || output.endsWith('\n') ? output : `${output}\n`;
}

if (import.meta.main) {
  const page = readFileSync(POLICY_DOC, 'utf8');
  const fresh = await freshPage(page);
  writeFileSync(POLICY_DOC, fresh);
  console.log(fresh === page ? 'policy-doc: nothing changed' : 'policy-doc: written anew');
}
