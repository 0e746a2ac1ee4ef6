// Hot path: no promise, closure or string per chunk.
/**
 * Bytes both ways between two connections, each direction ended on its own (half-close), with bounded memory.
 * Pausing at every full write costs two epoll changes a chunk; pausing above a limit of queued bytes does not.
 */
import type { Socket } from 'node:net';

/** Queued bytes above which the source pauses until the queue is empty. */
const QUEUE_LIMIT_BYTES = 1024 * 1024;

/** A socket and how its bytes arrive: by an inlet, or by its 'data' event when that is null. */
export interface Side {
  readonly socket: Socket;
  readonly inlet: { receive: ((chunk: Buffer, borrowed: boolean) => void) | null } | null;
}

export interface SpliceEnd {
  /** Bytes that `a` sent, and `b`. */
  readonly fromA: number;
  readonly fromB: number;
  readonly why: 'end' | 'reset' | 'idle' | 'closed' | 'screened' | 'broken';
}

export interface Splice {
  /** Milliseconds on the clock's scale; set by the splice. */
  deadline: number;
  fromA: number;
  fromB: number;
  onDeadline(): void;
  /** Ends both sides at once. */
  close(): void;
  /** The same, and neither side can take it for the end of what was sent. */
  breakOff(): void;
}

interface Deadline {
  deadline: number;
  onDeadline(): void;
}

interface SpliceClock {
  now: number;
  add(item: Deadline): void;
  delete(item: Deadline): void;
}

export interface SpliceOptions {
  readonly clock: SpliceClock;
  /** 0 = for ever. */
  readonly idleTimeoutMs: number;
  /** Looks at the bytes of `a` before they pass; false closes both sides. Dropped when it is done. */
  readonly screen?: { readonly done: boolean; passes(chunk: Buffer): boolean } | null;
  readonly done: (end: SpliceEnd) => void;
}

/** Joins `a` and `b`; `done` is called once, when both are closed. */
export function splice(a: Side, b: Side, options: SpliceOptions): Splice {
  return new Spliced(a, b, options);
}

class Spliced implements Splice {
  deadline = Number.POSITIVE_INFINITY;
  fromA = 0;
  fromB = 0;
  #a: Side;
  #b: Side;
  #clock: SpliceClock;
  #idleTimeoutMs: number;
  #done: (end: SpliceEnd) => void;
  #screen: SpliceOptions['screen'] | null;
  #why: SpliceEnd['why'] = 'end';
  #open = 2;

  constructor(a: Side, b: Side, options: SpliceOptions) {
    this.#a = a;
    this.#b = b;
    this.#clock = options.clock;
    this.#idleTimeoutMs = options.idleTimeoutMs;
    this.#done = options.done;
    this.#screen = options.screen ?? null;
    this.#touch();
    this.#clock.add(this);
    this.#wire(a, b, true);
    this.#wire(b, a, false);
    a.socket.resume();
    b.socket.resume();
  }

  #touch(): void {
    if (this.#idleTimeoutMs > 0) this.deadline = this.#clock.now + this.#idleTimeoutMs;
  }

  onDeadline(): void {
    this.#why = 'idle';
    this.close();
  }

  close(): void {
    if (this.#why === 'end') this.#why = 'closed';
    this.#a.socket.destroy();
    this.#b.socket.destroy();
  }

  breakOff(): void {
    this.#why = 'broken';
    reset(this.#a.socket);
    reset(this.#b.socket);
  }

  #wire(from: Side, to: Side, isA: boolean): void {
    const source = from.socket;
    const sink = to.socket;
    const encrypts = 'encrypted' in sink;
    // TLS comes a record of 16 KiB at a time, however much was read: written one by one each would be a system call.
    const batch = 'encrypted' in source && !encrypts ? new Batch(sink) : null;
    const receive = (chunk: Buffer, borrowed: boolean): void => {
      if (isA) {
        if (this.#screen && !this.#screened(chunk)) return;
        this.fromA += chunk.length;
      } else this.fromB += chunk.length;
      this.#touch();
      if (!sink.writable) return;
      // A borrowed chunk may be passed on only where it is used up before write returns: TLS with nothing queued.
      const copy = borrowed && !(encrypts && sink.writableLength === 0);
      if (batch !== null) batch.write(copy ? Buffer.from(chunk) : chunk);
      else sink.write(copy ? Buffer.from(chunk) : chunk);
      if (sink.writableLength > QUEUE_LIMIT_BYTES) source.pause();
    };
    if (from.inlet === null) source.on('data', (chunk: Buffer) => receive(chunk, false));
    else from.inlet.receive = receive;
    sink.on('drain', () => source.resume());
    source.on('end', () => sink.end());
    source.on('error', () => {
      this.#why = 'reset';
    });
    source.once('close', () => {
      // A side that broke takes the other with it, visibly: a clean end would pass for the whole of what was sent.
      if (!source.readableEnded || source.errored) {
        if (this.#why === 'end') this.#why = 'reset';
        if (this.#why === 'reset') reset(sink);
        else sink.destroy();
      }
      if (--this.#open === 0) this.#finish();
    });
    if (source.readableEnded) sink.end();
    if (source.destroyed && source.closed) {
      sink.destroy();
      if (--this.#open === 0) this.#finish();
    }
  }

  #screened(chunk: Buffer): boolean {
    if (this.#screen?.passes(chunk) === false) {
      this.#why = 'screened';
      this.close();
      return false;
    }
    if (this.#screen?.done) this.#screen = null;
    return true;
  }

  #finish(): void {
    this.#clock.delete(this);
    this.#done({ fromA: this.fromA, fromB: this.fromB, why: this.#why });
  }
}

/** TLS tells a broken connection from one that ended by its close_notify, which `destroy` does not send. */
function reset(socket: Socket): void {
  if (socket.destroyed) return;
  if ('encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
}

/** A full TLS record (RFC 8446 5.1): more of the same read is likely to follow at once. */
const FULL_RECORD_BYTES = 16 * 1024;
const BATCH_BYTES = 128 * 1024;

/** Writes that follow each other in one turn of the event loop go out together; a short one goes out at once. */
class Batch {
  #sink: Socket;
  #corked = false;
  #scheduled = false;
  #bytes = 0;
  #onImmediate = (): void => {
    this.#scheduled = false;
    this.#flush();
  };

  constructor(sink: Socket) {
    this.#sink = sink;
  }

  write(chunk: Buffer): void {
    const full = chunk.length >= FULL_RECORD_BYTES;
    if (full && !this.#corked) {
      this.#corked = true;
      this.#sink.cork();
    }
    this.#sink.write(chunk);
    if (!this.#corked) return;
    this.#bytes += chunk.length;
    if (!full || this.#bytes >= BATCH_BYTES) this.#flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#onImmediate);
    }
  }

  #flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#bytes = 0;
    this.#sink.uncork();
  }
}
