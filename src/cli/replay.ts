/** `outrider replay`: an access log under two configurations, and each verdict that would be another. */
import { createReadStream } from 'node:fs';
import { loadManifests } from '../config/manifest.ts';
import type { Resources } from '../config/resources.ts';
import { frontDoor } from '../proxy/front-door.ts';
import { readFault } from './read-fault.ts';
import { Blamer } from './replay-blame.ts';
import { Comparer } from './replay-compare.ts';
import type { ReplaySettings } from './replay-flags.ts';
import { type Example, type Finding, Groups } from './replay-groups.ts';
import { type LoggedRequest, readLogLine } from './replay-line.ts';
import { linesOf } from './replay-lines.ts';
import { blocksText, type Counts, groupJson, summaryText } from './replay-report.ts';
import { pathShape } from './replay-shape.ts';
import { Side } from './replay-side.ts';

/** Where the command reads and writes; `process` is one. */
export interface ReplayIo {
  readonly stdin: AsyncIterable<unknown>;
  readonly stdout: Sink;
  readonly stderr: Sink;
}

interface Sink {
  write(text: string, done?: () => void): unknown;
}

/**
 * Runs the command.
 * @returns the exit code: 0 when no verdict would change; 1 when one would, when manifests are invalid or a log cannot be
 * read
 */
export async function runReplay(settings: ReplaySettings, io: ReplayIo): Promise<number> {
  const before = load('before', settings.before, io);
  const after = load('after', settings.after, io);
  if (before === null || after === null) return 1;
  warnOfSelectors(settings, [before, after], io);
  const replay = new Replay(settings, before, after, io);
  for (const file of settings.logs) if (!(await replay.read(file))) return 1;
  return replay.report();
}

function load(name: string, paths: readonly string[], io: ReplayIo): Resources | null {
  const loaded = loadManifests(paths);
  for (const { file, line, column, severity, message } of loaded.ok ? [] : loaded.faults) {
    io.stderr.write(`${file}:${line}:${column} ${severity} ${message}\n`);
  }
  if (loaded.ok) return loaded.resources;
  io.stderr.write(`outrider replay: the configuration of --${name} is not valid\n`);
  return null;
}

/** The log does not have the workload's labels. */
function warnOfSelectors({ labels }: ReplaySettings, sides: readonly Resources[], io: ReplayIo): void {
  if (Object.keys(labels).length > 0) return;
  const selecting = sides.some(({ authorizationPolicies, peerAuthentications, requestAuthentications }) =>
    [authorizationPolicies, peerAuthentications, requestAuthentications]
      .flat()
      .some(one => one.selector !== null),
  );
  if (selecting) {
    io.stderr.write('outrider replay: without --labels policies that have a selector concern nobody\n');
  }
}

class Replay {
  readonly #settings: ReplaySettings;
  readonly #io: ReplayIo;
  readonly #comparer: Comparer;
  readonly #blamer: Blamer;
  readonly #groups = new Groups();
  #contradictions = 0;
  readonly #counts: Counts = { lines: 0, same: 0, passedOver: new Map(), foreign: 0 };

  constructor(settings: ReplaySettings, before: Resources, after: Resources, io: ReplayIo) {
    const { namespace, labels } = settings;
    const { peerFault } = frontDoor();
    this.#settings = settings;
    this.#io = io;
    this.#comparer = new Comparer(
      new Side(before, { namespace, labels }, peerFault),
      new Side(after, { namespace, labels }, peerFault),
    );
    this.#blamer = new Blamer(before, after);
  }

  /** Reads one log; `-` is standard input. @returns false when it cannot be read */
  async read(file: string): Promise<boolean> {
    const name = file === '-' ? 'standard input' : file;
    let line = 0;
    try {
      for await (const text of linesOf(file === '-' ? this.#io.stdin : createReadStream(file))) {
        line++;
        if (text === null) this.#foreign(name, line, 'a line without an end');
        else if (text.trim() !== '') this.#take(text, name, line);
      }
      return true;
    } catch (error) {
      this.#io.stderr.write(`outrider replay: cannot read ${name}: ${readFault(error)}\n`);
      return false;
    }
  }

  #take(text: string, file: string, line: number): void {
    const read = readLogLine(text);
    if (read.is === 'foreign') {
      this.#foreign(file, line, read.why);
      return;
    }
    this.#counts.lines++;
    if (read.is === 'passed over') {
      const { passedOver } = this.#counts;
      passedOver.set(read.why, (passedOver.get(read.why) ?? 0) + 1);
    } else if (read.is === 'incomplete') {
      this.#groups.add(untold(read.what), { file, line, request: 'a request' });
    } else this.#compare(read.request, file, line);
  }

  #compare(request: LoggedRequest, file: string, line: number): void {
    const { method, target, protocol, namespace, destinationPort } = request;
    const tcp = protocol === 'tcp';
    const seen = tcp ? `TCP to port ${destinationPort}` : `${method} ${target}`;
    const example: Example = { file, line, request: seen };
    const about = {
      source: request.principal,
      method: tcp ? null : method,
      path: tcp ? null : pathShape(target),
    };
    if (namespace === null && this.#settings.namespace === null) {
      this.#groups.add({ ...untold("the workload's namespace: give --namespace"), ...about }, example);
      return;
    }
    const { comparison, contradicts } = this.#comparer.compare(request);
    if (contradicts) this.#contradictions++;
    if (comparison.is === 'same') this.#counts.same++;
    else if (comparison.is === 'unknown') {
      this.#groups.add({ ...untold(comparison.names.join(' and ')), ...about }, example);
    } else {
      const { before, after } = comparison;
      const { policy, text } = this.#blamer.blame(before, after);
      const change = after.allow ? 'deny->allow' : 'allow->deny';
      const verdicts = { before, after };
      this.#groups.add({ change, policy, because: text, ...about, verdicts }, example);
    }
  }

  /** Counted; only the first is named. */
  #foreign(file: string, line: number, why: string): void {
    if (this.#counts.foreign++ > 0) return;
    this.#io.stderr.write(`outrider replay: ${file}:${line}: ${why}; passed over, as all others like it\n`);
  }

  /** Prints what was found. @returns the exit code */
  async report(): Promise<number> {
    const { json } = this.#settings;
    const { stdout, stderr } = this.#io;
    const sorted = this.#groups.sorted();
    if (json) for (const group of sorted) await write(stdout, `${groupJson(group)}\n`);
    else for (const block of blocksText(sorted)) await write(stdout, block);
    const summary = summaryText(this.#counts, this.#groups);
    // Standard output is for the groups where a program reads it.
    if (this.#contradictions > 0) {
      const those = `${this.#contradictions} of the requests were decided otherwise than --before decides them`;
      stderr.write(`outrider replay: ${those}: was the log written under it, and for these --labels?\n`);
    }
    await write(json ? stderr : stdout, `${json ? 'outrider replay: ' : ''}${summary}\n`);
    if (this.#counts.lines === 0 && this.#counts.foreign > 0) {
      stderr.write('outrider replay: nothing was compared: replay reads the JSON form of the access log\n');
      return 1;
    }
    return this.#groups.changed > 0 ? 1 : 0;
  }
}

function untold(what: string): Finding {
  const nothing = { policy: null, source: null, method: null, path: null, verdicts: null };
  return { change: 'unknown', because: what, ...nothing };
}

/** Resolves when the text is out: the process may end right after. */
function write(sink: Sink, text: string): Promise<void> {
  return new Promise(resolve => sink.write(text, resolve));
}
