/** The data-plane threads: started together, told everything in order, replaced when one dies. */
import { randomBytes } from 'node:crypto';
import { getHeapStatistics } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { BelievedChains } from './identity/believed-chains.ts';
import type { Address, FromWorker, ToWorker, WorkerStart } from './messages.ts';
import type { ConnectionRow } from './proxy/connections.ts';
import { type Counts, CountsLedger } from './telemetry/counts.ts';
import { log } from './telemetry/log.ts';

/** A worker that does not answer a scrape in this time is left out of it, as last heard. */
const ANSWER_MS = 1_000;
/** Between two replacements of workers that die at once; doubled each time up to the second. */
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 10_000;
/** A worker that lived this long did not die of its start. */
const STABLE_MS = 60_000;

export interface Bound {
  readonly inbound: Address;
  /** null = HBONE is not served. */
  readonly hbone: Address | null;
  readonly outbound: Address;
}

type Start = Omit<WorkerStart, 'id' | keyof Sessions>;
/** What all threads resume sessions by, from the first to the last of them. */
type Sessions = Pick<WorkerStart, 'ticketSecret' | 'believed'>;

const SECRET_BYTES = 32;

interface Thread {
  readonly id: number;
  readonly worker: Worker;
  readonly bornAt: number;
  bound: boolean;
}

export class Workers {
  restarts = 0;
  readonly ledger = new CountsLedger();
  #sessions: Sessions = { ticketSecret: randomBytes(SECRET_BYTES), believed: BelievedChains.memory() };
  #spares: Worker[] = [];
  #threads = new Map<number, Thread>();
  #latest: Start | null = null;
  #nextId = 1;
  #nextQuestion = 1;
  #waiting = new Map<number, (message: FromWorker) => void>();
  #drained = new Map<string, () => void>();
  #stopping = false;
  #restartMs = RESTART_MIN_MS;

  /** Begins to load `count` threads before there is anything for them to do: their start takes the longest. */
  warm(count: number): void {
    while (this.#spares.length < count) this.#spares.push(spawn());
  }

  get size(): number {
    return this.#threads.size;
  }

  /** Starts `count` workers on one pair of ports. @returns what was bound; @throws Error when a port cannot be */
  async start(count: number, start: Start): Promise<Bound> {
    this.#latest = start;
    const first = await this.#launch();
    // Port 0: the others share what the first was given.
    this.#latest = { ...this.#latest, ...first };
    await Promise.all(Array.from({ length: count - 1 }, () => this.#launch()));
    return first;
  }

  #launch(): Promise<Bound> {
    const id = this.#nextId++;
    const worker = this.#spares.pop() ?? spawn();
    const thread: Thread = { id, worker, bornAt: performance.now(), bound: false };
    this.#threads.set(id, thread);
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'bound') {
          thread.bound = true;
          resolve({ inbound: message.inbound, hbone: message.hbone, outbound: message.outbound });
        } else if (message.type === 'failed') {
          if (!thread.bound) {
            reject(new Error(message.message));
            void worker.terminate(); // another is tried later; this one must not stay beside it
          } else log.error('worker fault', { worker: id, reason: message.message });
        } else this.#heard(thread, message);
      });
      worker.on('error', error => log.error('worker died', { worker: id, reason: String(error) }));
      worker.on('exit', () => {
        reject(new Error('a worker ended while it started'));
        this.#gone(thread);
      });
      const start = this.#latest;
      if (start !== null)
        worker.postMessage({ type: 'start', id, ...this.#sessions, ...start } satisfies ToWorker);
    });
  }

  #heard(thread: Thread, message: FromWorker): void {
    if (message.type === 'drained') this.#drained.get(`${thread.id}:${message.outbound}`)?.();
    else if (message.type === 'counts' || message.type === 'connections') {
      if (message.type === 'counts') this.ledger.update(thread.id, message.counts);
      this.#waiting.get(message.question)?.(message);
    }
  }

  #gone(thread: Thread): void {
    this.#threads.delete(thread.id);
    this.ledger.retire(thread.id);
    this.#drained.get(`${thread.id}:true`)?.();
    this.#drained.get(`${thread.id}:false`)?.();
    if (this.#stopping || !thread.bound) return;
    this.restarts++;
    if (performance.now() - thread.bornAt > STABLE_MS) this.#restartMs = RESTART_MIN_MS;
    this.#replaceIn(this.#restartMs);
    this.#restartMs = Math.min(RESTART_MAX_MS, this.#restartMs * 2);
  }

  #replaceIn(ms: number): void {
    setTimeout(() => {
      if (this.#stopping) return;
      this.#launch().then(
        () => log.info('worker replaced', { restarts: this.restarts }),
        (error: Error) => {
          log.error('worker not replaced', { reason: error.message });
          this.#replaceIn(RESTART_MAX_MS);
        },
      );
    }, ms);
  }

  /** Tells every worker, and those that start later. */
  configure(
    change: Pick<Start, 'resources' | 'workload' | 'generation' | 'accessLog' | 'egress' | 'keySets'>,
  ): void {
    if (this.#latest !== null) this.#latest = { ...this.#latest, ...change };
    this.#broadcast({ type: 'config', ...change });
  }

  identify(identity: Start['identity']): void {
    if (this.#latest !== null) this.#latest = { ...this.#latest, identity };
    this.#broadcast({ type: 'identity', identity });
  }

  /** Key sets that were fetched anew. */
  replaceKeys(keySets: Start['keySets']): void {
    if (this.#latest !== null) this.#latest = { ...this.#latest, keySets };
    this.#broadcast({ type: 'keys', keySets });
  }

  setLogLevel(level: (ToWorker & { type: 'log-level' })['level']): void {
    this.#broadcast({ type: 'log-level', level });
  }

  #broadcast(message: ToWorker): void {
    for (const { worker } of this.#threads.values()) worker.postMessage(message);
  }

  /** The counts of all workers, dead ones included. */
  async counts(): Promise<Counts[]> {
    await this.#ask('counts');
    return this.ledger.all();
  }

  async connections(): Promise<ConnectionRow[]> {
    const answers = await this.#ask('connections');
    return answers.flatMap(answer => (answer.type === 'connections' ? [...answer.rows] : []));
  }

  async #ask(what: 'counts' | 'connections'): Promise<FromWorker[]> {
    const bound = [...this.#threads.values()].filter(thread => thread.bound);
    const answers = await Promise.all(bound.map(thread => this.#askOne(thread, what)));
    return answers.filter(answer => answer !== null);
  }

  #askOne(thread: Thread, what: 'counts' | 'connections'): Promise<FromWorker | null> {
    const question = this.#nextQuestion++;
    return new Promise(resolve => {
      const finish = (answer: FromWorker | null): void => {
        clearTimeout(timer);
        this.#waiting.delete(question);
        resolve(answer);
      };
      const timer = setTimeout(() => finish(null), ANSWER_MS);
      this.#waiting.set(question, finish);
      thread.worker.postMessage({ type: 'ask', question, what } satisfies ToWorker);
    });
  }

  /** Stops accepting on one side and waits, `ms` at most, for what is in flight. */
  async drain(ms: number, outbound: boolean): Promise<void> {
    this.#stopping = true;
    const all = [...this.#threads.values()].map(
      ({ id, worker }) =>
        new Promise<void>(resolve => {
          this.#drained.set(`${id}:${outbound}`, resolve);
          worker.postMessage({ type: 'drain', ms, outbound } satisfies ToWorker);
        }),
    );
    await Promise.all(all);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const all = [...this.#spares, ...[...this.#threads.values()].map(thread => thread.worker)];
    await Promise.all(all.map(worker => worker.terminate()));
  }
}

const MAX_OLD_GENERATION_MB = 1_024; // 10,000 connections take some 100

/** No more than Node itself takes to be right for the machine or its container. */
function oldGenerationMb(): number {
  return Math.min(MAX_OLD_GENERATION_MB, Math.floor(getHeapStatistics().heap_size_limit / 1_048_576));
}

function spawn(): Worker {
  // A checkout runs TypeScript as it is; the bundle has its JavaScript beside it.
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js';
  return new Worker(new URL(file, import.meta.url), {
    // Requests die young: with 6 MB the collector took 5 % of the CPU of a request, and with 12 it runs twice as often as
    // with 24. With 48 it runs no less, and memory swings twice as far where connections and certificates come and go.
    // And with 2 GB and more for the rest V8 lets it grow to four times what is in use before it collects it.
    resourceLimits: { maxYoungGenerationSizeMb: 24, maxOldGenerationSizeMb: oldGenerationMb() },
  });
}
