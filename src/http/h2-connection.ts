// Hot path: no promise, closure or string per chunk.
/**
 * One HTTP/2 connection (RFC 9113), what both roles share: frames are read where they lie, header blocks decoded, windows
 * kept, settings obeyed; every fault of the peer ends a stream or the connection with the code that the RFC names.
 */
import type { Clock, Deadline, Duct } from './exchange.ts';
import type { FieldList } from './field-list.ts';
import { H2Budget, UNREASONABLE } from './h2-budget.ts';
import { type FrameHead, FrameReader, type FrameTaker, uint31, uint32 } from './h2-frame-reader.ts';
import * as h2 from './h2-frames.ts';
import { type BlockTaker, HeaderBlocks } from './h2-header-blocks.ts';
import { H2Output } from './h2-output.ts';
import { PeerSettings } from './h2-peer-settings.ts';
import { type PacedReader, ReadPace } from './h2-read-pace.ts';
import { SendWindow } from './h2-send-window.ts';
import type { H2Stream } from './h2-stream.ts';
import { H2StreamTable } from './h2-stream-table.ts';
import { HpackEncoder } from './hpack-encoder.ts';

/** Streams that we reset and whose frames may still be under way. */
const MAX_REMEMBERED = 1_024;
const TICK_MS = 1_000;
/** One read may bring hundreds of requests: after so many, or so many ms of them, other connections are served first. */
const STREAMS_A_TURN = 32;
const TURN_MS = 0.3;
const CONNECTION_CREDIT = h2.CONNECTION_WINDOW / 4;

/** What ends a connection: the code for the peer, and the word for the metric. */
interface Fault {
  readonly code: number;
  readonly reason: h2.H2EndReason;
  readonly what: string;
}

export abstract class H2Connection implements Deadline, FrameTaker, BlockTaker, PacedReader {
  readonly duct: Duct;
  readonly clock: Clock;
  readonly output: H2Output;
  /** The other side is an Outrider, and both say what HTTP/2 lacks of an HTTP/1.1 message. */
  readonly memo: boolean;
  readonly encoder = new HpackEncoder();
  readonly streams = new H2StreamTable<H2Stream>();
  deadline: number;
  readonly peer: PeerSettings;
  /** On the clock's scale: when the last stream ended. */
  idleSince: number;
  /** The highest stream of the peer's that we know of (a server's), or 0. */
  protected lastPeerStream = 0;
  protected readonly budget: H2Budget;
  /** Our end: true after GOAWAY of a fault, or when the socket is gone. */
  over = false;
  readonly #idleMs: number;
  readonly #report: h2.H2Report | null;
  readonly #frames: FrameReader;
  readonly #blocks: HeaderBlocks;
  readonly #sending: SendWindow;
  /** Bytes that the peer may still send, and those passed on that were not announced yet. */
  #receiveWindow = h2.CONNECTION_WINDOW;
  #credit = 0;
  /** Our resets, oldest first. */
  #reset = new Set<number>();
  /** The stream of the DATA frame under way, and whether that ends it. */
  #dataStream = 0;
  #dataEnds = false;
  readonly #born: number;
  readonly #headerTimeoutMs: number;
  /** Streams that the peer began in this turn of the event loop. */
  protected begun = 0;
  #turnEnds = 0;
  readonly #pace: ReadPace;
  #onDrain = (): void => this.#drained();

  constructor(
    duct: Duct,
    options: {
      clock: Clock;
      idleMs: number;
      report: h2.H2Report | null;
      memo: boolean;
      /** The peer is a client. */
      preface: boolean;
      headerTimeoutMs: number;
    },
  ) {
    this.duct = duct;
    this.clock = options.clock;
    this.#idleMs = options.idleMs;
    this.#report = options.report;
    this.memo = options.memo;
    // Only a client may say that it takes pushes.
    this.peer = new PeerSettings(options.preface ? 1 : 0);
    this.budget = new H2Budget(this.clock.now);
    this.output = new H2Output(duct.socket);
    this.#frames = new FrameReader(this, options.preface);
    this.#blocks = new HeaderBlocks(this, options.memo);
    this.#sending = new SendWindow(this.output);
    this.#pace = new ReadPace(this, duct.socket, this.output);
    this.#headerTimeoutMs = options.headerTimeoutMs;
    this.#born = this.clock.now;
    this.idleSince = this.clock.now;
    this.deadline = this.clock.now + Math.min(TICK_MS, options.headerTimeoutMs);
    duct.socket.on('drain', this.#onDrain);
  }

  /** A header section on a stream that is not open. @param list null when its stream is not to be opened */
  protected abstract onNewStream(id: number, list: FieldList, end: boolean): void;
  /** Whether `id` is a stream that nobody opened yet. */
  protected abstract isIdle(id: number): boolean;
  /** Nothing is open any more. */
  protected abstract onEmpty(): void;
  abstract onCaughtUp(): void;
  /** The peer opens no stream of its own, or answers none above `last`. */
  protected abstract onGoaway(last: number, code: number, debug: string): void;
  /** The peer's SETTINGS changed what may be opened. */
  protected abstract onSettings(): void;
  protected abstract onPong(payload: Buffer, at: number): void;
  /** Time passed. */
  protected abstract onTick(now: number): void;

  // ---- reading

  /** @param borrowed the bytes are overwritten by the next read */
  protected read(chunk: Buffer, borrowed: boolean): void {
    this.#pace.read(chunk, borrowed);
  }

  /** For the pace. */
  readFrames(chunk: Buffer, borrowed: boolean): number {
    return this.#frames.read(chunk, borrowed, this.clock.now);
  }

  /** Others have had their turn. */
  beginTurn(): void {
    this.begun = 0;
    this.#turnEnds = performance.now() + TURN_MS;
  }

  protected get turnIsOver(): boolean {
    return performance.now() > this.#turnEnds;
  }

  /** Whether something of what was read waits for the next turn, besides bytes. */
  get waiting(): boolean {
    return false;
  }

  /** Not all that was read of the socket is acted on. */
  protected get behind(): boolean {
    return this.#pace.behind;
  }

  get full(): boolean {
    return this.begun >= STREAMS_A_TURN || (this.begun > 0 && this.turnIsOver);
  }

  onFrame(frame: FrameHead, bytes: Buffer, from: number, to: number): void {
    const { type, flags, stream } = frame;
    const length = to - from;
    if (this.#blocks.interruptedBy(frame)) return this.#protocol('a header block is interrupted');
    if (!this.peer.received && type !== h2.SETTINGS) return this.#protocol('the first frame is no SETTINGS');
    switch (type) {
      case h2.HEADERS:
        return this.#blocks.headers(frame, bytes, from, to, this.clock.now);
      case h2.CONTINUATION:
        return this.#blocks.continuation(frame, bytes, from, to);
      case h2.RST_STREAM:
        return this.#onReset(stream, length, bytes, from);
      case h2.SETTINGS:
        return this.#onSettingsFrame(stream, flags, length, bytes, from);
      case h2.PING:
        return this.#onPing(stream, flags, length, bytes, from);
      case h2.GOAWAY:
        if (stream !== 0) return this.#protocol('GOAWAY on a stream');
        if (length < 8) return this.#size('GOAWAY');
        this.#spend();
        return this.onGoaway(
          uint31(bytes, from),
          uint32(bytes, from + 4),
          bytes.toString('latin1', from + 8, Math.min(to, from + 136)),
        );
      case h2.WINDOW_UPDATE:
        return this.#onWindowUpdate(stream, length, bytes, from);
      case h2.PRIORITY:
        if (stream === 0) return this.#protocol('PRIORITY on no stream');
        // RFC 9113 6.3: a stream error; priorities are not used, and the stream may not exist.
        if (length !== 5) return this.#streamSize(stream);
        return this.#spend();
      case h2.PUSH_PROMISE:
        return this.#protocol('PUSH_PROMISE that nobody may send');
      default:
        // RFC 9113 4.1: frames of unknown types are ignored.
        return this.#spend();
    }
  }

  /** A frame that carries nothing. */
  #spend(): void {
    if (!this.budget.control(this.clock.now))
      this.fail(h2.ENHANCE_YOUR_CALM, 'h2_control_flood', 'too many frames without content');
  }

  #protocol(what: string): void {
    this.fail(h2.PROTOCOL_ERROR, 'h2_protocol_error', what);
  }

  #size(type: string): void {
    this.fail(h2.FRAME_SIZE_ERROR, 'h2_frame_size', `${type} of a wrong size`);
  }

  #streamSize(id: number): void {
    const stream = this.streams.get(id);
    if (stream !== undefined) this.failStream(stream, h2.FRAME_SIZE_ERROR, 'h2_frame_size');
    else if (this.isIdle(id)) this.#size('PRIORITY');
    this.#spend();
  }

  // ---- DATA

  onDataBegin(frame: FrameHead, length: number, content: number): void {
    const id = frame.stream;
    if (this.#blocks.interruptedBy(frame)) return this.#protocol('a header block is interrupted');
    if (!this.peer.received) return this.#protocol('the first frame is no SETTINGS');
    if (id === 0) return this.#protocol('DATA on no stream');
    if (this.isIdle(id)) return this.#protocol('DATA on a stream that is not open');
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0)
      return this.fail(h2.FLOW_CONTROL_ERROR, 'h2_flow_control', 'more than the window of the connection');
    this.#dataEnds = (frame.flags & h2.END_STREAM) !== 0;
    this.#dataStream = id;
    const stream = this.streams.get(id);
    if (stream === undefined || stream.remoteEnded) this.#unexpected(id, stream, length);
    else if (!stream.take(length)) {
      this.credit(length);
      this.failStream(stream, h2.FLOW_CONTROL_ERROR, 'h2_flow_control');
    }
    if (content > 0) this.budget.content();
    else if (!this.#dataEnds) this.#spend();
  }

  /** DATA on a stream that has ended: its window is given back, and the peer told, unless it could not know yet. */
  #unexpected(id: number, stream: H2Stream | undefined, length: number): void {
    if (length > 0) this.credit(length);
    if (this.#reset.has(id)) return;
    this.#spend();
    if (stream !== undefined) this.failStream(stream, h2.STREAM_CLOSED, 'h2_stream_closed');
    else if (!this.over) {
      this.#remember(id);
      this.output.reset(id, h2.STREAM_CLOSED);
      this.#report?.('h2_stream_closed');
    }
  }

  onDataBytes(bytes: Buffer, borrowed: boolean, more: boolean): void {
    const stream = this.streams.get(this.#dataStream);
    if (stream === undefined || stream.remoteEnded) return;
    stream.touched = this.clock.now;
    stream.received += bytes.length;
    stream.onData(bytes, borrowed, more);
  }

  onDataEnd(): void {
    if (!this.#dataEnds || this.over) return;
    this.#dataEnds = false;
    const stream = this.streams.get(this.#dataStream);
    if (stream === undefined || stream.remoteEnded) return;
    this.#endRemote(stream);
    stream.onEnd();
  }

  #endRemote(stream: H2Stream): void {
    stream.remoteEnded = true;
    stream.touched = this.clock.now;
    if (stream.localEnded) this.forget(stream);
  }

  // ---- header blocks

  onHeaderSection(id: number, list: FieldList, ends: boolean): void {
    if (!this.budget.beyond(this.clock.now, list.beyond))
      return this.fail(h2.ENHANCE_YOUR_CALM, 'h2_header_list_too_large', 'too many fields');
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.#reset.has(id)) this.#spend();
      else this.onNewStream(id, list, ends);
      return;
    }
    if (stream.remoteEnded) {
      this.#spend();
      this.failStream(stream, h2.STREAM_CLOSED, 'h2_stream_closed');
      return;
    }
    stream.touched = this.clock.now;
    // Before it is acted on, since what follows may already close the stream.
    if (ends) stream.remoteEnded = true;
    stream.onFields(list, ends);
    if (ends && stream.localEnded) this.forget(stream);
  }

  // ---- the other frames

  #onReset(id: number, length: number, bytes: Buffer, from: number): void {
    if (length !== 4) return this.#size('RST_STREAM');
    if (id === 0 || this.isIdle(id)) return this.#protocol('RST_STREAM on a stream that is not open');
    const stream = this.streams.get(id);
    if (stream === undefined) return this.#spend();
    const code = uint32(bytes, from);
    stream.remoteEnded = true;
    stream.localEnded = true;
    this.forget(stream);
    this.onStreamReset(stream, code);
  }

  /** The peer reset a stream. */
  protected onStreamReset(stream: H2Stream, code: number): void {
    stream.onReset(code);
  }

  #onSettingsFrame(id: number, flags: number, length: number, bytes: Buffer, from: number): void {
    if (id !== 0) return this.#protocol('SETTINGS on a stream');
    if ((flags & h2.ACK) !== 0) {
      if (length !== 0) return this.#size('SETTINGS');
      if (!this.peer.received) return this.#protocol('the first frame is no SETTINGS');
      return this.#spend();
    }
    if (length % 6 !== 0) return this.#size('SETTINGS');
    for (let at = from; at < from + length && !this.over; at += 6)
      this.#setting(((bytes[at] as number) << 8) | (bytes[at + 1] as number), uint32(bytes, at + 2));
    if (this.over) return;
    this.peer.received = true;
    this.output.settingsAck();
    this.#spend();
    this.onSettings();
    this.pump();
  }

  #setting(id: number, value: number): void {
    const { window } = this.peer;
    const fault = this.peer.set(id, value);
    if (fault !== null) return this.fail(fault.code, fault.reason, fault.what);
    if (id === h2.HEADER_TABLE_SIZE) this.encoder.setPeerTableSize(value);
    else if (this.peer.window !== window) this.#resizeWindows(this.peer.window - window);
  }

  /** RFC 9113 6.9.2: also of streams that are open; a window may fall below zero. */
  #resizeWindows(change: number): void {
    for (const stream of this.streams.values()) {
      stream.sendWindow += change;
      if (stream.sendWindow > h2.MAX_WINDOW)
        return this.fail(h2.FLOW_CONTROL_ERROR, 'h2_flow_control', 'window too large');
    }
  }

  #onPing(id: number, flags: number, length: number, bytes: Buffer, from: number): void {
    if (id !== 0) return this.#protocol('PING on a stream');
    if (length !== 8) return this.#size('PING');
    if ((flags & h2.ACK) !== 0) this.onPong(bytes, from);
    else this.output.ping(bytes, from, true);
    this.#spend();
  }

  #onWindowUpdate(id: number, length: number, bytes: Buffer, from: number): void {
    if (length !== 4) return this.#size('WINDOW_UPDATE');
    const bytesMore = uint31(bytes, from);
    this.#spend();
    if (this.over) return;
    if (id === 0) {
      if (bytesMore === 0) return this.#protocol('WINDOW_UPDATE of nothing');
      if (!this.#sending.grow(bytesMore))
        return this.fail(h2.FLOW_CONTROL_ERROR, 'h2_flow_control', 'window too large');
      return this.pump();
    }
    if (this.isIdle(id)) return this.#protocol('WINDOW_UPDATE on a stream that is not open');
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    if (bytesMore === 0) return this.failStream(stream, h2.PROTOCOL_ERROR, 'h2_protocol_error');
    stream.sendWindow += bytesMore;
    if (stream.sendWindow > h2.MAX_WINDOW)
      return this.failStream(stream, h2.FLOW_CONTROL_ERROR, 'h2_flow_control');
    if (stream.waiting) this.pump();
  }

  // ---- sending

  /** Bytes of DATA that `stream` may send now. */
  sendable(stream: H2Stream): number {
    return this.#sending.room(stream);
  }

  writeData(stream: H2Stream, bytes: Buffer, from: number, to: number): void {
    this.#sending.take(stream, to - from);
    stream.touched = this.clock.now;
    this.budget.content();
    this.output.data(stream.id, bytes, from, to);
  }

  /** `stream` has something to send that it may not send yet. */
  wait(stream: H2Stream): void {
    this.#sending.wait(stream);
  }

  protected pump(): void {
    if (!this.over) this.#sending.pump();
  }

  #drained(): void {
    this.#pace.drained();
    this.pump();
  }

  /** `bytes` of DATA were passed on or thrown away: the peer may send as many again. */
  credit(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit < CONNECTION_CREDIT || this.over) return;
    this.output.windowUpdate(0, this.#credit);
    this.#receiveWindow += this.#credit;
    this.#credit = 0;
  }

  // ---- ends

  /** Ends a stream that is open, and tells both sides. */
  failStream(stream: H2Stream, code: number, reason: h2.H2EndReason): void {
    this.#report?.(reason);
    this.resetStream(stream, code);
    stream.onReset(code);
    // Who makes us reset streams costs as much as who resets them (CVE-2025-8671).
    // But not a message that is malformed, which a proxy may have taken over from anybody.
    if (!this.budget.reset(this.clock.now, reason === 'h2_malformed' ? 1 : UNREASONABLE))
      this.fail(h2.ENHANCE_YOUR_CALM, 'h2_rapid_reset', 'too many streams that had to be reset');
  }

  /** Sends RST_STREAM; what comes of that stream afterwards is ignored. */
  resetStream(stream: H2Stream, code: number): void {
    if (!this.streams.has(stream.id)) return;
    const known = stream.remoteEnded;
    stream.localEnded = true;
    stream.remoteEnded = true;
    this.forget(stream);
    if (this.over) return;
    if (!known) this.#remember(stream.id);
    this.output.reset(stream.id, code);
  }

  /** Refuses a stream that was never opened. */
  refuseStream(id: number, code: number, reason: h2.H2EndReason): void {
    this.#report?.(reason);
    this.#remember(id);
    this.output.reset(id, code);
  }

  protected report(reason: h2.H2EndReason): void {
    this.#report?.(reason);
  }

  #remember(id: number): void {
    this.#reset.add(id);
    if (this.#reset.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#reset) {
      this.#reset.delete(oldest);
      break;
    }
  }

  /** Both sides have ended it. */
  forget(stream: H2Stream): void {
    if (!this.streams.delete(stream.id)) return;
    stream.surrender();
    if (this.streams.size > 0) return;
    this.idleSince = this.clock.now;
    this.onEmpty();
  }

  /** The peer broke the protocol, or floods us: it is told, and the connection ends. */
  fail(code: number, reason: h2.H2EndReason, what: string): void {
    if (this.over) return;
    this.#report?.(reason);
    this.output.goaway(this.lastPeerStream, code, what);
    this.output.flush();
    this.onFault({ code, reason, what });
  }

  /** GOAWAY was sent: every stream is over. */
  protected abstract onFault(fault: Fault): void;

  /** Ends every stream, each told once. */
  protected endStreams(): void {
    const open = this.streams.values();
    this.streams.clear();
    this.#sending.clear();
    for (const stream of open) {
      stream.remoteEnded = true;
      stream.localEnded = true;
      stream.drop();
      stream.onReset(null);
    }
  }

  onDeadline(): void {
    const { now } = this.clock;
    this.deadline = now + TICK_MS;
    if (this.#isLate(now)) {
      this.fail(h2.ENHANCE_YOUR_CALM, 'h2_header_timeout', 'header block took too long');
      return;
    }
    if (this.output.takesNothing(now)) {
      this.report('h2_stalled');
      this.duct.socket.destroy();
      return;
    }
    for (const stream of this.streams.values()) {
      if (now - stream.touched > this.#idleMs && this.streams.has(stream.id)) {
        this.report('h2_stalled');
        stream.onStalled();
      }
    }
    this.onTick(now);
  }

  /** The first SETTINGS, a header block or a frame was begun too long ago. */
  #isLate(now: number): boolean {
    if (!this.peer.received) return now - this.#born > this.#headerTimeoutMs;
    return now - Math.min(this.#blocks.since, this.#frames.heldSince) > this.#headerTimeoutMs;
  }
}
