/** The whole HTTP/2 table, and the ways to a server that it is run against. */
import { connect } from 'node:net';
import { opened } from '../h2-peer.ts';
import type { H2Case } from './h2-case.ts';
import type { CaseApp, H2Route } from './h2-case-runner.ts';
import {
  CONTINUATION_CASES,
  FRAME_CASES,
  PREFACE_CASES,
  STATE_CASES,
  TYPE_CASES,
} from './h2-cases-frames.ts';
import { HPACK_CASES } from './h2-cases-hpack.ts';
import { FIELD_CASES, MESSAGE_CASES, PSEUDO_CASES } from './h2-cases-messages.ts';

export const CASES: readonly H2Case[] = [
  ...PREFACE_CASES,
  ...FRAME_CASES,
  ...STATE_CASES,
  ...TYPE_CASES,
  ...CONTINUATION_CASES,
  ...MESSAGE_CASES,
  ...FIELD_CASES,
  ...PSEUDO_CASES,
  ...HPACK_CASES,
];

/** A server on a plain port. */
export function plainRoute(port: number, app: CaseApp): H2Route {
  const open = async () => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
    await opened(socket, 'connect');
    return socket;
  };
  return { open, app };
}
