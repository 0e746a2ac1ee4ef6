import fs from 'node:fs';

const MAX_QUEUED_BYTES = 4 << 20; // a burst's worth; a reader that stalls for longer loses lines, not memory
const PIPE_BUF = 4_096; // Linux writes this much to a pipe whole: lines of several threads do not mix (pipe(7))
const FILE_CHUNK = 64 << 10;
const RETRY_MIN_MS = 1; // a pipe holds 64 KiB, which a log at full speed fills in about 2 ms
const RETRY_MAX_MS = 32;
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * Lines to a file descriptor, written once per turn of the event loop, that never block the thread and never grow
 * without bound: what a slow reader leaves no room for is refused, and counted.
 *
 * A pipe or terminal is opened again through /proc so that non-blocking mode is ours alone (it belongs to the open
 * file, which other processes share). A file is written as it is, where its one offset is, and does not block. What
 * cannot be opened again (a socket, another user's pipe) is written in Node's thread pool, one write at a time.
 */
export class LineSink {
  readonly #fd: number;
  readonly #own: number | null;
  readonly #mayBlock: boolean;
  readonly #chunk: number;
  readonly #maxQueued: number;
  #lines: string[] = [];
  #sizes: number[] = [];
  #head = 0;
  #queued = 0;
  /** The chunk that is being written, and how much of it is out. */
  #chunkBytes: Buffer | null = null;
  #written = 0;
  #scheduled = false;
  #inFlight = false;
  #broken = false;
  #retryMs = RETRY_MIN_MS;
  /** Lines refused since the start. */
  dropped = 0;

  constructor(fd: number, maxQueuedBytes: number = MAX_QUEUED_BYTES) {
    const isFile = fs.fstatSync(fd).isFile();
    this.#own = isFile ? null : reopen(fd);
    this.#fd = this.#own ?? fd;
    this.#mayBlock = !isFile && this.#own === null;
    this.#chunk = isFile ? FILE_CHUNK : PIPE_BUF;
    this.#maxQueued = maxQueuedBytes;
  }

  /** Queues one line, without its end; false = dropped. */
  write(line: string): boolean {
    const size = Buffer.byteLength(line) + 1;
    if (this.#broken || this.#queued + size > this.#maxQueued) {
      this.dropped++;
      return false;
    }
    this.#lines.push(line);
    this.#sizes.push(size);
    this.#queued += size;
    if (!this.#scheduled && !this.#inFlight) {
      this.#scheduled = true;
      setImmediate(this.#turn);
    }
    return true;
  }

  /** Writes what can be written at once; true = nothing is left. */
  flush(): boolean {
    if (this.#inFlight) return false;
    if (this.#mayBlock) {
      this.#writeInPool();
      return this.#queued === 0;
    }
    while (this.#next()) {
      const result = this.#writeNow();
      if (result === 'full') return false;
    }
    return true;
  }

  /** Waits until all is written, one second at most, and lets the descriptor go. */
  async close(): Promise<void> {
    const deadline = performance.now() + CLOSE_TIMEOUT_MS;
    while (!this.flush() && performance.now() < deadline) {
      await new Promise(resolve => setTimeout(resolve, RETRY_MIN_MS));
    }
    this.#broken = true;
    if (this.#own !== null) fs.closeSync(this.#own);
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    if (this.#broken || this.flush() || this.#inFlight) return;
    this.#scheduled = true;
    setTimeout(this.#turn, this.#retryMs).unref();
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  };

  /** Makes sure there is a chunk of whole lines to write; false = nothing is queued. */
  #next(): boolean {
    if (this.#chunkBytes !== null) return true;
    if (this.#head === this.#lines.length) return false;
    let text = '';
    let bytes = 0;
    while (this.#head < this.#lines.length) {
      const size = this.#sizes[this.#head] ?? 0;
      if (bytes > 0 && bytes + size > this.#chunk) break;
      text += `${this.#lines[this.#head]}\n`;
      bytes += size;
      this.#head++;
    }
    if (this.#head === this.#lines.length) {
      this.#lines = [];
      this.#sizes = [];
      this.#head = 0;
    }
    this.#chunkBytes = Buffer.from(text);
    this.#written = 0;
    return true;
  }

  #writeNow(): 'written' | 'full' {
    const chunk = this.#chunkBytes as Buffer;
    try {
      this.#progress(fs.writeSync(this.#fd, chunk, this.#written));
      return 'written';
    } catch (error) {
      if (codeOf(error) === 'EAGAIN') return 'full';
      this.#fail(error);
      return 'written';
    }
  }

  #writeInPool(): void {
    if (!this.#next()) return;
    this.#inFlight = true;
    fs.write(this.#fd, this.#chunkBytes as Buffer, this.#written, (error, written) => {
      this.#inFlight = false;
      if (error === null) this.#progress(written);
      else if (codeOf(error) !== 'EAGAIN') this.#fail(error);
      if (this.#queued > 0 && !this.#scheduled && !this.#broken) {
        this.#scheduled = true;
        if (error === null) setImmediate(this.#turn);
        else setTimeout(this.#turn, RETRY_MAX_MS).unref();
      }
    });
  }

  #progress(written: number): void {
    this.#retryMs = RETRY_MIN_MS;
    this.#written += written;
    this.#queued -= written;
    if (this.#written >= (this.#chunkBytes?.length ?? 0)) this.#chunkBytes = null;
  }

  /** A full disk loses this chunk; a reader that is gone (EPIPE) ends the sink. */
  #fail(error: unknown): void {
    const lost = this.#chunkBytes?.subarray(this.#written) ?? Buffer.alloc(0);
    this.#queued -= lost.length;
    this.dropped += lost.reduce((lines, byte) => lines + (byte === 10 ? 1 : 0), 0);
    this.#chunkBytes = null;
    if (codeOf(error) !== 'EPIPE') return;
    this.#broken = true;
    this.dropped += this.#lines.length - this.#head;
    this.#lines = [];
    this.#sizes = [];
    this.#head = 0;
    this.#queued = 0;
  }
}

function reopen(fd: number): number | null {
  const { O_WRONLY, O_NONBLOCK } = fs.constants;
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK);
  } catch {
    return null; // not Linux, a socket (ENXIO), or a pipe of another user (EACCES)
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
