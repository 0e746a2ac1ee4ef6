/** A network between two peers that can be cut, stopped and slowed. */
import { connect, createServer, type Socket } from 'node:net';
import { listenUntilEnd } from './peers.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** Bytes that pass at a time on a slow network, and how long the next ones wait. */
const SLOW_BYTES = 16 * 1024;
const SLOW_MS = 4;

export class Relay {
  readonly port: number;
  readonly #ends: Set<Socket>;
  readonly #state: { away: boolean; stopped: boolean; slow: boolean };

  constructor(port: number, ends: Set<Socket>, state: { away: boolean; stopped: boolean; slow: boolean }) {
    this.port = port;
    this.#ends = ends;
    this.#state = state;
  }

  /** Connections that pass now. */
  get connections(): number {
    return this.#ends.size / 2;
  }

  /** Every connection is reset; new ones come through. */
  cut(): void {
    for (const end of this.#ends) end.resetAndDestroy();
  }

  /** Connections are reset as soon as they are made. */
  set away(away: boolean) {
    this.#state.away = away;
    if (away) this.cut();
  }

  /** Nothing passes, and nobody hears of it. */
  set stopped(stopped: boolean) {
    this.#state.stopped = stopped;
    for (const end of this.#ends)
      if (stopped) end.pause();
      else end.resume();
  }

  /** Some 4 MB a second for each direction of each connection. */
  set slow(slow: boolean) {
    this.#state.slow = slow;
  }
}

/** Listens on a port of its own and passes everything on to `target`. */
export async function startRelay(t: Teardown, target: number): Promise<Relay> {
  const ends = new Set<Socket>();
  const state = { away: false, stopped: false, slow: false };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, near => {
    near.on('error', () => {});
    if (state.away) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host: '127.0.0.1', port: target, allowHalfOpen: true, noDelay: true });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      ends.add(from);
      from.on('error', () => {});
      from.on('data', (chunk: Buffer) => pass(chunk, from, to));
      from.on('end', () => to.end());
      from.on('close', () => {
        ends.delete(from);
        to.destroy();
      });
      if (state.stopped) from.pause();
    }
  });
  const pass = (chunk: Buffer, from: Socket, to: Socket): void => {
    to.write(chunk.subarray(0, state.slow ? SLOW_BYTES : chunk.length));
    if (!state.slow || chunk.length <= SLOW_BYTES) {
      if (!state.slow && to.writableLength < 1_000_000) return;
      from.pause();
      setTimeout(() => state.stopped || from.resume(), SLOW_MS);
      return;
    }
    from.pause();
    setTimeout(() => pass(chunk.subarray(SLOW_BYTES), from, to), SLOW_MS);
  };
  return new Relay(await listenUntilEnd(t, server), ends, state);
}
