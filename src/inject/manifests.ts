/** Manifests in, manifests out: each pod template of a YAML or JSON text with the sidecar, everything else as it was. */
import { type Document, LineCounter, parseAllDocuments } from 'yaml';
import { editsBetween } from './json-patch.ts';
import { at, isObject, type Json, type JsonPath, withAt } from './json-value.ts';
import type { Note } from './notes.ts';
import { type InjectSettings, injectPod } from './pod.ts';
import { placesOf } from './workloads.ts';
import { applyEdits, expandAliases, formOf, spotOf, writeYaml } from './yaml-edit.ts';

export interface Message {
  readonly severity: 'error' | 'warning' | 'note';
  /** `file:line:col severity text`. */
  readonly line: string;
}

export interface InjectedText {
  /** '' when a message is an error. */
  readonly text: string;
  readonly messages: readonly Message[];
  /** How many pod templates got the sidecar. */
  readonly injected: number;
}

/** Go's YAML, which Kubernetes reads: version 1.1 without dates and numbers of base 60. */
export const KUBERNETES_YAML = {
  version: '1.1',
  customTags: (tags: { tag?: string; format?: string }[]) =>
    tags.filter(({ tag, format }) => tag !== 'tag:yaml.org,2002:timestamp' && format !== 'TIME'),
  prettyErrors: false,
  logLevel: 'silent',
} as const;
const MAX_BYTES = 8 * 1024 * 1024; // as for the manifests of `run`

/**
 * Injects the sidecar. Documents without pods stay byte for byte as they are; in the others comments and order stay.
 * @param file how messages name the text
 */
export function injectText(source: string, file: string, settings: InjectSettings): InjectedText {
  return new TextInjector(source, file, settings).run();
}

class TextInjector {
  readonly #source: string;
  readonly #file: string;
  readonly #settings: InjectSettings;
  readonly #lines = new LineCounter();
  readonly #messages: Message[] = [];
  #injected = 0;

  constructor(source: string, file: string, settings: InjectSettings) {
    this.#source = source;
    this.#file = file;
    this.#settings = settings;
  }

  run(): InjectedText {
    if (this.#source.length > MAX_BYTES) {
      this.#say('error', 0, `has more than ${MAX_BYTES} bytes; split it`);
      return this.#result('');
    }
    const documents = this.#parse();
    if (documents.length === 0) return this.#result(this.#source);
    const texts = documents.map((document, index) => {
      const next = documents[index + 1]?.range[0] ?? this.#source.length;
      return this.#document(document, this.#source.slice(index === 0 ? 0 : document.range[0], next));
    });
    return this.#result(texts.join(''));
  }

  #result(text: string): InjectedText {
    const failed = this.#messages.some(({ severity }) => severity === 'error');
    return { text: failed ? '' : text, messages: this.#messages, injected: failed ? 0 : this.#injected };
  }

  #parse(): readonly Document.Parsed[] {
    try {
      const documents = parseAllDocuments(this.#source, {
        ...KUBERNETES_YAML,
        lineCounter: this.#lines,
      } as object);
      return Array.isArray(documents) ? documents : [];
    } catch (error) {
      const deep = error instanceof RangeError;
      this.#say('error', 0, `cannot be read as YAML${deep ? ': it is nested too deeply' : ''}`);
      return [];
    }
  }

  /** @param text of the document, up to the next one */
  #document(document: Document.Parsed, text: string): string {
    const [error] = document.errors;
    if (error !== undefined) {
      this.#say('error', error.pos[0], `is not valid YAML: ${error.message}`);
      return text;
    }
    const before = this.#valueOf(document);
    if (before === undefined) return text;
    const after = this.#inject(before, document);
    if (after === before) return text;
    if (isJson(text)) return `${JSON.stringify(after, null, formOf(text).indent)}\n`;
    expandAliases(document);
    applyEdits(document, editsBetween(before, after));
    return writeYaml(document, formOf(text));
  }

  #valueOf(document: Document.Parsed): Json | undefined {
    try {
      return document.toJS() as Json;
    } catch (error) {
      this.#say('error', document.range[0], error instanceof Error ? error.message : 'cannot be read');
      return undefined;
    }
  }

  #inject(before: Json, document: Document.Parsed): Json {
    let after = before;
    for (const { owner, path } of placesOf(before)) {
      const pod = at(before, path);
      if (!isObject(pod)) continue;
      const outcome = injectPod(pod, owner, this.#settings);
      const name = `${owner.kind} ${owner.namespace === '' ? '' : `${owner.namespace}/`}${owner.name}`;
      for (const note of outcome.notes) this.#tell(document, path, note, name);
      if (outcome.is === 'left') {
        this.#say('note', spotOf(document, path), `${name}: left as it is: ${outcome.why}`);
      }
      if (outcome.is !== 'injected') continue;
      this.#injected++;
      after = withAt(after, path, outcome.pod);
    }
    return after;
  }

  #tell(
    document: Document.Parsed,
    path: JsonPath,
    { severity, path: inside, message }: Note,
    name: string,
  ): void {
    const place = inside.map(step => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('');
    const text = /^metadata\.annotations\b/.test(place.slice(1)) ? message : `${place.slice(1)}: ${message}`;
    this.#say(severity, spotOf(document, [...path, ...inside]), `${name}: ${text}`);
  }

  #say(severity: Message['severity'], offset: number, text: string): void {
    const { line, col } = this.#lines.linePos(offset);
    const place = `${this.#file}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
    this.#messages.push({ severity, line: printable(`${place} ${severity} ${text}`) });
  }
}

/** JSON stays JSON: in flow collections of YAML nobody would find his way. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** A name in a manifest may hold anything, a terminal's control codes too. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, char => JSON.stringify(char).slice(1, -1));
}
