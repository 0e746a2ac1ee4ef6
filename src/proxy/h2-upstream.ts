/** Which HTTP is spoken to an endpoint: what a request wants, and what the connection that was made for it agreed to. */
import type { Duct, UpstreamStream } from '../http/exchange.ts';
import type { RequestHead } from '../http/h1-parser.ts';
import { H2RequestHead } from '../http/h2-head.ts';
import type { Shareable } from '../upstream/stream-pool.ts';
import { OUTRIDER_H2 } from './alpn.ts';
import { PeerDuct } from './peer-duct.ts';

/** What the configuration says: `client` = what the client speaks. */
export type Speaks = 'http1' | 'http2' | 'client';

/**
 * What a request needs: HTTP/1.1 on a connection that becomes its own (`http1-alone`), HTTP/1.1 in whatever carries it
 * unchanged (`http1`), or HTTP/2.
 */
export type Wants = 'http1-alone' | 'http1' | 'http2';

/** `memo`: HTTP/2 that also says how the message stood in HTTP/1.1. */
export type Spoken = 'http1' | 'http2' | 'memo';

/** An HTTP/2 connection to an endpoint, as its pool sees it. */
export interface SharedConnection extends Shareable {
  /** Requests under way. */
  readonly active: number;
  /** Takes a place; null when there is no room. */
  open(): UpstreamStream | null;
  destroy(): void;
}

export interface SharedOwner {
  /** There may be room. */
  onRoom(connection: SharedConnection): void;
  /** No further stream may begin. */
  onRetired(connection: SharedConnection): void;
  onGone(connection: SharedConnection): void;
}

/** How requests share connections to an endpoint. */
export interface Sharing {
  readonly speaks: Speaks;
  /** Requests of HTTP/1.1 share connections too, where the peer knows how. */
  readonly memo: boolean;
  /** HTTP/2 is a wish: who does not agree to it is spoken to in HTTP/1.1. */
  readonly fallsBack: boolean;
  /** Takes over a connection on which HTTP/2 is spoken. */
  begin(duct: Duct, owner: SharedOwner, memo: boolean): SharedConnection;
}

/** Tunnels take the whole of a connection of HTTP/1.1; RFC 8441 has one for WebSocket that is a stream. */
export function wantsOf(head: RequestHead, sharing: Sharing | null): Wants {
  if (sharing === null) return 'http1-alone';
  if (head.upgrade !== null || head.method === 'CONNECT')
    return sharing.speaks === 'http2' && isExtended(head) ? 'http2' : 'http1-alone';
  const { speaks, memo } = sharing;
  const http2 = isHttp2(head);
  if (speaks === 'http2' || (speaks === 'client' && http2)) return 'http2';
  // What was HTTP/2 before has nothing to say of HTTP/1.1, and the peer would take it for what it was.
  return memo && !http2 ? 'http1' : 'http1-alone';
}

function isExtended(head: RequestHead): boolean {
  return head instanceof H2RequestHead && head.protocolToken !== null;
}

/** What another Outrider passed on counts as what it was. */
export function isHttp2(head: RequestHead): boolean {
  return head.version === '2' && !(head instanceof H2RequestHead && head.shared);
}

/** Who agrees to nothing, or to a mark alone, is taken to know (RFC 9113 3.3), as in Envoy. */
export function spokenOn(duct: Duct, wants: Wants, sharing: Sharing): Spoken {
  if (wants === 'http1-alone') return 'http1';
  const agreed = duct instanceof PeerDuct ? duct.protocol : null;
  if (wants === 'http1') return agreed === OUTRIDER_H2 ? 'memo' : 'http1';
  if (agreed === 'h2' || !(duct instanceof PeerDuct)) return 'http2';
  return sharing.fallsBack || agreed === 'http/1.1' ? 'http1' : 'http2';
}
