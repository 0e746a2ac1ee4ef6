// Hot path: no promise, closure or string per chunk.
/** Counts the messages of one direction of a gRPC call (gRPC over HTTP/2, "Length-Prefixed-Message"). */

/** The compressed flag, and the length in four bytes. */
const PREFIX_BYTES = 5;

export class GrpcMessages {
  /** Messages that have begun, as Envoy counts them. */
  count = 0;
  /** Bytes seen of the prefix under way; 0 = none is. */
  #prefix = 0;
  #length = 0;
  /** Bytes that the message under way still has. */
  #left = 0;

  /** Whether what came so far are whole messages. */
  get whole(): boolean {
    return this.#left === 0 && this.#prefix === 0;
  }

  /** The next bytes, cut anywhere. */
  feed(bytes: Buffer): void {
    const { length } = bytes;
    let at = 0;
    while (at < length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, length - at);
        this.#left -= taken;
        at += taken;
      } else if (this.#prefix === 0 && length - at >= PREFIX_BYTES) {
        this.count++;
        this.#left = bytes.readUInt32BE(at + 1);
        at += PREFIX_BYTES;
      } else this.#feedPrefix(bytes[at++] as number);
    }
  }

  /** A prefix that is cut. */
  #feedPrefix(byte: number): void {
    if (this.#prefix++ === 0) {
      this.count++;
      this.#length = 0;
      return;
    }
    this.#length = this.#length * 256 + byte;
    if (this.#prefix < PREFIX_BYTES) return;
    this.#left = this.#length;
    this.#prefix = 0;
  }
}
