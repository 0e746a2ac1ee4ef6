/**
 * Runs the cases of h1-cases.jsonl against a proxy, one after the other: bytes in, both ends looked at, a verdict. The
 * runner plays the client and the upstream. One at a time, so that whatever reaches the upstream is that case's; nothing
 * waits for a while where an event tells the end (the answer, the close, the answer to a witness request after it).
 */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { type Case, judge, type Sight } from './case-verdict.ts';
import { type Message, readRequests, readResponses, statusOf } from './strict-messages.ts';

/** A client or an upstream that does not end by itself is given up after this; no case of a sound proxy takes it. */
const PATIENCE_MS = 20_000;
/** Nothing comes and nothing closes: the proxy waits for the rest of the request, and that is what has to be shown. */
const QUIET_MS = 150;

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-U: 1\r\n\r\nok';
const OK_HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-U: 1\r\n\r\n';
const WITNESS = 'x-witness';

/** The cases in the file's order. */
export function loadCases(): Case[] {
  const text = readFileSync(new URL('h1-cases.jsonl', import.meta.url), 'utf8');
  return text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Case);
}

/** The proxy under test: how to reach it, and what plays its upstream. */
export interface Route {
  open(): Promise<Socket>;
  readonly upstream: CaseUpstream;
  /** What must hold of every request that reaches the upstream; a fault's text, or null. */
  check?(message: Message): string | null;
}

/** One client connection, its bytes as latin1 text. */
class CaseClient {
  readonly socket: Socket;
  text = '';
  ended = false;
  #wake: (() => void)[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.text += bytes.toString('latin1');
      this.#note();
    });
    for (const event of ['end', 'close'] as const) {
      socket.on(event, () => {
        this.ended = true;
        this.#note();
      });
    }
    socket.on('error', () => {});
  }

  #note(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Waits until `reached`, `ms` at most. @returns whether it was reached */
  async wait(reached: () => boolean, ms: number): Promise<boolean> {
    const end = Date.now() + ms;
    while (!reached()) {
      const left = end - Date.now();
      if (left <= 0) return false;
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, left);
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return true;
  }
}

/** Plays the upstream of one route: answers requests, or says what a response case wants said. */
export class CaseUpstream {
  #case: Case | null = null;
  #connections = new Set<UpstreamConnection>();
  #seen: UpstreamConnection[] = [];

  /** Takes a connection that the proxy opened, its handshake done where there is one. */
  accept(socket: Socket): void {
    const connection = new UpstreamConnection(socket);
    this.#connections.add(connection);
    socket.on('error', () => {});
    socket.on('close', () => this.#connections.delete(connection));
    socket.on('end', () => socket.end());
    socket.on('data', (bytes: Buffer) => {
      if (!this.#seen.includes(connection)) this.#seen.push(connection);
      connection.text += bytes.toString('latin1');
      if (this.#case !== null) connection.answer(this.#case);
    });
  }

  /** Everything from now on is this case's. */
  begin(next: Case): void {
    this.#case = next;
    this.#seen = [];
    for (const connection of this.#connections) connection.reset();
  }

  /** What came since `begin`, a text a connection. */
  get texts(): string[] {
    return this.#seen.map(connection => connection.text);
  }
}

class UpstreamConnection {
  readonly socket: Socket;
  text = '';
  #answered = 0;
  #continued = false;
  #spoke = false;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  reset(): void {
    this.text = '';
    this.#answered = 0;
    this.#continued = false;
    this.#spoke = false;
  }

  answer(current: Case): void {
    const { messages } = readRequests(this.text);
    const last = messages.at(-1);
    if (last !== undefined && isWitness(last)) {
      this.#write(witnessAnswer(witnessOf(last)));
      return;
    }
    if (current.kind === 'response') this.#speak(current);
    else this.#answerAll(messages);
  }

  #answerAll(messages: readonly Message[]): void {
    if (!this.#continued && /\r\nexpect: *100-continue\r\n/i.test(this.text)) {
      this.#continued = true;
      this.#write('HTTP/1.1 100 Continue\r\n\r\n');
    }
    for (; this.#answered < messages.length; this.#answered++) {
      const message = messages[this.#answered];
      if (message?.complete !== true) return;
      this.#write(message.line.startsWith('HEAD ') ? OK_HEAD : OK);
    }
  }

  #speak(current: Case): void {
    if (this.#spoke || !this.text.includes('\r\n\r\n')) return;
    this.#spoke = true;
    this.#write(current.raw);
    if (current.upstreamClose) this.socket.end();
  }

  #write(text: string): void {
    this.socket.write(Buffer.from(text, 'latin1'));
  }
}

function isWitness(message: Message): boolean {
  return message.fields.some(([name]) => name === WITNESS);
}

function witnessOf(message: Message): string {
  return message.fields.find(([name]) => name === WITNESS)?.[1] ?? '';
}

function witnessAnswer(word: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${word.length}\r\n\r\n${word}`;
}

/** Runs every case over `route`. @returns the faults by case id; a case that passed has none */
export async function runCases(route: Route, cases: readonly Case[]): Promise<Map<string, string[]>> {
  const faults = new Map<string, string[]>();
  const witness = new CaseClient(await route.open());
  for (const current of cases) {
    const sight = await runCase(route, current);
    const found = judge(current, sight);
    const word = `${current.id}-seen`;
    if (!(await ask(witness, word))) found.push('a request after it did not get its own answer');
    const messages = sight.upstream.flatMap(text => readRequests(text).messages);
    for (const message of messages) {
      const fault = message.complete && message.faults.length === 0 ? route.check?.(message) : null;
      if (fault) found.push(fault);
    }
    faults.set(current.id, found);
  }
  witness.socket.destroy();
  return faults;
}

/** Sends a request that must get its own answer, whatever came before it on the proxy's upstream connections. */
async function ask(client: CaseClient, word: string): Promise<boolean> {
  const before = client.text.length;
  client.socket.write(`GET /witness HTTP/1.1\r\nHost: example.test\r\n${WITNESS}: ${word}\r\n\r\n`);
  const answered = await client.wait(
    () => client.ended || client.text.endsWith(`\r\n\r\n${word}`),
    PATIENCE_MS,
  );
  return answered && client.text.indexOf('HTTP/1.1 200', before) === before && client.text.endsWith(word);
}

async function runCase(route: Route, current: Case): Promise<Sight> {
  const { upstream } = route;
  upstream.begin(current);
  const client = new CaseClient(await route.open());
  const raw = Buffer.from(current.kind === 'request' ? current.raw : (current.request ?? ''), 'latin1');
  if (current.halfClose) client.socket.end(raw);
  else client.socket.write(raw);
  const methods = methodsOf(raw.toString('latin1'));
  const finals = (): Message[] =>
    readResponses(client.text, methods, client.ended).messages.filter(m => m.complete && statusOf(m) >= 200);
  const wanted = current.expect === 'reject' ? 1 : (current.want?.requests ?? 1);
  const enough = (): boolean => client.ended || finals().length >= wanted || finals().some(isRefusal);
  await client.wait(enough, client.text === '' ? await quietTime(client, enough) : PATIENCE_MS);
  // A refusal closes, and so does what the case says closes: that has to come from the proxy.
  if (current.close || finals().some(isRefusal)) await client.wait(() => client.ended, PATIENCE_MS);
  const closed = client.ended;
  // Our own end: the proxy finishes what it has, and then closes; after that nothing more can come.
  client.socket.end();
  const finished = await client.wait(() => client.ended, closed ? 0 : PATIENCE_MS);
  client.socket.destroy();
  return { downstream: client.text, closed, finished, methods, upstream: upstream.texts };
}

/** Long enough for an answer to begin; then, if one began, for it to end. */
async function quietTime(client: CaseClient, enough: () => boolean): Promise<number> {
  await client.wait(() => client.text !== '' || enough(), QUIET_MS);
  return client.text === '' ? 0 : PATIENCE_MS;
}

function isRefusal(message: Message): boolean {
  return statusOf(message) === 400 || statusOf(message) === 431;
}

/** Methods of the requests that a reader may see in these bytes, for the bodies of their answers. */
function methodsOf(raw: string): string[] {
  return [...raw.matchAll(/(?:^|\n)\s*([A-Z]+) \S+ HTTP\/1/g)].map(match => match[1] ?? '');
}
