/** What the demo writes: headings and labelled rows, folded to the terminal's width, in colour where there is one. */
import { styleText } from 'node:util';
import type { Environment } from '../config/environment.ts';

export type Tone = 'good' | 'bad' | 'plain';

interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const LABEL = 11; // characters of a row's label, the two spaces before it included
const WIDTH = { least: 60, most: 100 };
const STYLES = { good: 'green', bad: 'red', plain: 'bold' } as const;

export class Paper {
  readonly #terminal: Terminal;
  readonly #colour: boolean;
  readonly #width: number;
  #chapters = 0;
  #closed = false;

  /** Colour on a terminal only, and never against NO_COLOR (no-color.org). */
  constructor(terminal: Terminal, environment: Environment) {
    this.#terminal = terminal;
    this.#colour = terminal.isTTY === true && !environment.NO_COLOR && environment.TERM !== 'dumb';
    this.#width = Math.min(WIDTH.most, Math.max(WIDTH.least, (terminal.columns ?? WIDTH.most) - 1));
  }

  /** Nothing is written any more. */
  close(): void {
    this.#closed = true;
  }

  /** A line as it is; may be longer than the width where it is to be copied. */
  line(text = ''): void {
    if (!this.#closed) this.#terminal.write(`${text}\n`);
  }

  title(text: string): void {
    this.line(this.#styled('bold', text));
  }

  /** The heading of the next chapter, with its number. */
  chapter(title: string): void {
    this.line();
    this.title(`${++this.#chapters}  ${title}`);
  }

  /** A line that explains; folded. */
  note(text: string): void {
    for (const line of fold(text, this.#width)) this.line(this.#styled('dim', line));
  }

  /** `label  lead, text`: the lead in the tone's colour. */
  row(label: string, text: string, lead = '', tone: Tone = 'plain'): void {
    const lines = fold(`${lead}${text}`, this.#width - LABEL);
    lines.forEach((line, i) => {
      const head = this.#styled('dim', `${i === 0 ? `  ${label}` : ''}`.padEnd(LABEL));
      const coloured = i === 0 && lead !== '' && line.startsWith(lead);
      this.line(head + (coloured ? this.#styled(STYLES[tone], lead) + line.slice(lead.length) : line));
    });
  }

  #styled(style: Parameters<typeof styleText>[0], text: string): string {
    return this.#colour ? styleText(style, text, { validateStream: false }) : text;
  }
}

/** Words on lines of at most `width` characters; a longer word stands alone. Control characters never pass. */
export function fold(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of printable(text).split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
}

/** What others chose (a path, a header) cannot move the cursor. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?');
}
