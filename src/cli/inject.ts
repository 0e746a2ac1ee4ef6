/** `outrider inject`: manifests in, manifests with the sidecar out. */
import { readFileSync } from 'node:fs';
import { type InjectedText, injectText } from '../inject/manifests.ts';
import type { InjectSettings } from '../inject/pod.ts';
import { ownTemplate, type ReadTemplate, readTemplate } from '../inject/template.ts';
import type { InjectFlags, SidecarFlags } from './inject-flags.ts';

/** Where the command reads and writes; `process` is one. */
export interface InjectIo {
  readonly stdin: AsyncIterable<Buffer | string>;
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

/** The command. @returns the exit code: 1, and nothing on standard output, when a file or the template is wrong */
export async function runInject(flags: InjectFlags, io: InjectIo = process): Promise<0 | 1> {
  const say = (line: string): void => void io.stderr.write(`${line}\n`);
  const settings = settingsOf(flags);
  if (typeof settings === 'string') {
    say(`outrider: ${settings}`);
    return 1;
  }
  const results: InjectedText[] = [];
  for (const file of flags.files) {
    const source = await sourceOf(file, io);
    if (!source.ok) {
      say(`${file}:1:1 error ${source.message}`);
      return 1;
    }
    results.push(injectText(source.text, file === '-' ? '<stdin>' : file, settings));
  }
  for (const { messages } of results) for (const { line } of messages) say(line);
  if (results.some(({ messages }) => messages.some(({ severity }) => severity === 'error'))) return 1;
  io.stdout.write(joined(results.map(({ text }) => text)));
  return 0;
}

/** What the flags say with the template read; otherwise what is wrong with it. */
export function settingsOf(flags: SidecarFlags): InjectSettings | string {
  const { template: file, ...rest } = flags;
  const read = file === null ? ownTemplate() : templateOf(file);
  return read.ok ? { ...rest, template: read.template } : read.message;
}

function templateOf(file: string): ReadTemplate {
  try {
    return readTemplate(readFileSync(file, 'utf8'), file);
  } catch (error) {
    return { ok: false, message: `${file}: ${reasonOf(error)}` };
  }
}

type Source = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly message: string };

async function sourceOf(file: string, io: InjectIo): Promise<Source> {
  try {
    const bytes = file === '-' ? await whole(io.stdin) : readFileSync(file);
    return { ok: true, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch (error) {
    return { ok: false, message: error instanceof TypeError ? 'is not UTF-8' : reasonOf(error) };
  }
}

async function whole(stream: AsyncIterable<Buffer | string>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'does not exist';
  if (code === 'EISDIR') return 'is a folder; name its files';
  return code ?? String(error);
}

/** One stream of documents: a file that does not begin with a marker gets one. */
function joined(texts: readonly string[]): string {
  return texts.reduce((whole, text) => {
    if (whole === '' || /^(?:\s|#[^\n]*\n)*---/.test(text)) return whole + text;
    return `${whole}${whole.endsWith('\n') ? '' : '\n'}---\n${text}`;
  }, '');
}
