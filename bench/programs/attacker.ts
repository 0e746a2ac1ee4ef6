/**
 * One attacker: one connection at a time, which sends the same attack as fast as it is read, until it is cut off or
 * through; then the next, so many a second at most. A child of the bench, which says what to do and when to stop.
 */
import { connect, type Socket } from 'node:net';
import { ATTACK_NAMES, type Attack, type AttackName, attackOf, OPENING } from '../attacks.ts';
import { job } from './protocol.ts';

export interface AttackerJob {
  /** On 127.0.0.1. */
  readonly port: number;
  /** At most so many connections a second. */
  readonly connections: number;
  /** How long one that nobody ends stands, ms; null = until it is told to stop. */
  readonly stallMs: number | null;
}

/** What the bench says: an attack to begin, or null = stop. */
export type AttackOrder = { readonly attack: AttackName | null };

export interface AttackReport {
  /** Begun since the last order. */
  readonly connections: number;
  /** Ended by the other side. */
  readonly cutOff: number;
}

const PIECE_BYTES = 64 * 1024;
/** What was sent may lie in the kernel for long before it is read. */
const READ_MS = 5_000;

const task = await job<AttackerJob>();
const attacks = new Map(ATTACK_NAMES.map(name => [name, attackOf(name)]));
let attack: Attack | null = null;
let socket: Socket | null = null;
let connections = 0;
let cutOff = 0;
let begunAt = 0;

process.on('message', (order: AttackOrder) => {
  if (order.attack === null) stop();
  else {
    attack = attacks.get(order.attack) ?? null;
    next();
  }
});
process.send?.({ at: 'ready' });

function stop(): void {
  attack = null;
  socket?.destroy();
  process.send?.({ connections, cutOff } satisfies AttackReport);
  connections = 0;
  cutOff = 0;
}

function next(): void {
  if (attack === null || socket !== null) return;
  const wait = begunAt + 1000 / task.connections - performance.now();
  if (wait > 0) setTimeout(next, wait);
  else open(attack);
}

function open({ variants, reads, ends }: Attack): void {
  begunAt = performance.now();
  const bytes = variants[connections++ % variants.length] ?? OPENING;
  let ended = false;
  const opened = connect({ host: '127.0.0.1', port: task.port, noDelay: true });
  socket = opened;
  opened.on('error', () => {}); // cut off in mid-flood: what is to happen
  opened.on('end', () => {
    ended = true;
    opened.destroy();
  });
  opened.on('close', failed => {
    if ((ended || failed) && attack !== null) cutOff++;
    socket = null;
    next();
  });
  if (reads) opened.resume();
  opened.write(OPENING);
  send(opened, bytes, () => {
    const holdMs = ends ? READ_MS : task.stallMs;
    if (holdMs !== null) setTimeout(() => opened.destroy(), holdMs);
  });
}

/** Writes piece by piece, each when the one before has left. */
function send(to: Socket, bytes: Buffer, done: () => void): void {
  let at = 0;
  const more = (): void => {
    if (to.destroyed) return;
    if (at >= bytes.length) return done();
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    at += PIECE_BYTES;
    to.write(piece, more);
  };
  more();
}
