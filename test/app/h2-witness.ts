/** Who watches while an HTTP/2 attack goes on: a client that is served meanwhile, and the memory of the sidecar. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Test } from 'tap';
import type { H2Peer } from '../h2-peer.ts';
import { get } from '../http/h2-case.ts';
import { listenUntilEnd } from '../peers.ts';
import type { Sidecar } from '../sidecar.ts';

const MIB = 1024 * 1024;
/** What is read and not collected yet, and what 250 streams may hold; whatever is kept for good is some hundreds. */
export const MAX_GROWTH = 64 * MIB;
/** The attacker shares its processor, and its thread, with the witness; how fast answers are is for the bench to say. */
export const MAX_WAIT_MS = 5_000;
/** Long enough for what an attack leaves behind to show. */
const MIN_ANSWERS = 100;
/** The app: small answers, a large one, and one that never comes. */
export async function startApp(t: Test): Promise<{ port: number; requests: () => number }> {
  let requests = 0;
  const large = Buffer.alloc(MIB, 'x');
  const server = createServer((request, response) => {
    requests++;
    if (request.url === '/hold') return;
    request.resume();
    response.end(request.url === '/large' ? large : 'ok');
  });
  return { port: await listenUntilEnd(t, server), requests: () => requests };
}

/** Resident memory in bytes. */
export function resident(sidecar: Sidecar): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${sidecar.pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

/** A client that asks one request after the other for as long as an attack goes on. */
export class Witness {
  answers = 0;
  longestMs = 0;
  peak = 0;
  readonly faults: string[] = [];
  #peer: H2Peer;
  #sidecar: Sidecar;
  #next = 1;

  constructor(peer: H2Peer, sidecar: Sidecar) {
    this.#peer = peer;
    this.#sidecar = sidecar;
  }

  async ask(): Promise<void> {
    const id = this.#next;
    this.#next += 2;
    const start = performance.now();
    this.#peer.send(get(id));
    await this.#peer.done(id);
    if (this.#peer.status(id) !== 200) this.faults.push(`status ${this.#peer.status(id)}`);
    this.#peer.streams.delete(id);
    this.#peer.frames.length = 0;
    this.answers++;
    this.longestMs = Math.max(this.longestMs, performance.now() - start);
    this.peak = Math.max(this.peak, resident(this.#sidecar));
  }

  async during(attack: Promise<unknown>): Promise<void> {
    let over = false;
    const ended = attack.finally(() => {
      over = true;
    });
    ended.catch(() => {});
    do await this.ask();
    while (!over || this.answers < MIN_ANSWERS);
    await ended;
    await this.ask();
  }
}

/** Sends the same again and again while the connection stands, and lets the socket drain in between. */
export async function flood(peer: H2Peer, count: number, one: (i: number) => Buffer): Promise<void> {
  for (let i = 0; i < count && peer.ended === null; ) {
    const some: Buffer[] = [];
    for (const end = Math.min(count, i + 200); i < end; i++) some.push(one(i));
    const bytes = Buffer.concat(some);
    await new Promise<void>(resolve => {
      if (!peer.socket.writable) return resolve();
      peer.socket.write(bytes, () => resolve());
    });
  }
}
