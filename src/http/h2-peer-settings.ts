/** What the peer's SETTINGS say (RFC 9113 6.5.2, RFC 8441 3). */
import {
  DEFAULT_WINDOW,
  ENABLE_CONNECT_PROTOCOL,
  ENABLE_PUSH,
  FLOW_CONTROL_ERROR,
  type H2EndReason,
  INITIAL_WINDOW_SIZE,
  MAX_CONCURRENT_STREAMS,
  MAX_FRAME_BYTES,
  MAX_FRAME_SIZE,
  MAX_WINDOW,
  PROTOCOL_ERROR,
} from './h2-frames.ts';

const LARGEST_FRAME = 0xff_ffff;

/** Why a value may not be sent. */
export interface SettingFault {
  readonly code: number;
  readonly reason: H2EndReason;
  readonly what: string;
}

export class PeerSettings {
  /** They came. */
  received = false;
  /** Of a stream that begins now. */
  window = DEFAULT_WINDOW;
  /** That we may have open at a time. */
  streams = Number.POSITIVE_INFINITY;
  /** It takes the extended CONNECT of RFC 8441. */
  connects = false;
  readonly #mostPush: 0 | 1;

  /** @param mostPush the largest SETTINGS_ENABLE_PUSH that this peer may send: a server 0, a client 1 */
  constructor(mostPush: 0 | 1) {
    this.#mostPush = mostPush;
  }

  /** Takes one value. @returns why it may not be sent; null = it may */
  set(id: number, value: number): SettingFault | null {
    switch (id) {
      case ENABLE_PUSH:
        return value > this.#mostPush ? wrong('SETTINGS_ENABLE_PUSH is none that may be sent') : null;
      case MAX_CONCURRENT_STREAMS:
        this.streams = value;
        return null;
      case INITIAL_WINDOW_SIZE:
        if (value > MAX_WINDOW) return TOO_LARGE;
        this.window = value;
        return null;
      case MAX_FRAME_SIZE:
        // Ours are never larger than the smallest that it may say.
        return value < MAX_FRAME_BYTES || value > LARGEST_FRAME
          ? wrong('SETTINGS_MAX_FRAME_SIZE out of range')
          : null;
      case ENABLE_CONNECT_PROTOCOL:
        if (value > 1 || (value === 0 && this.connects))
          return wrong('SETTINGS_ENABLE_CONNECT_PROTOCOL taken back');
        this.connects = value === 1;
        return null;
      default:
        return null;
    }
  }
}

const TOO_LARGE: SettingFault = {
  code: FLOW_CONTROL_ERROR,
  reason: 'h2_flow_control',
  what: 'SETTINGS_INITIAL_WINDOW_SIZE too large',
};

function wrong(what: string): SettingFault {
  return { code: PROTOCOL_ERROR, reason: 'h2_protocol_error', what };
}
