/** What a measured proxy is to the bench: how it is called, what it can do, and its configuration for one job. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { BenchIdentities } from '../certificates.ts';

export type PeerName = 'outrider' | 'nginx' | 'haproxy' | 'envoy' | 'nghttpx';
export const PEER_NAMES: readonly PeerName[] = ['outrider', 'nginx', 'haproxy', 'envoy', 'nghttpx'];

/** One job: mutual TLS (or cleartext) in to a plaintext app, or plaintext in to a mutual-TLS server. */
export interface Role {
  readonly direction: 'inbound' | 'outbound';
  /** What the app speaks: HTTP/1.1, HTTP/2 (with prior knowledge, and on the other side too), or bytes. */
  readonly protocol: 'http' | 'http2' | 'tcp';
  /** HTTP/2 in mutual TLS also between two instances whose apps speak HTTP/1.1. */
  readonly multiplexed?: boolean;
  /** No TLS inbound; policy then goes by the method. */
  readonly cleartext?: boolean;
  /** Port on 127.0.0.1 that the traffic goes to. */
  readonly target: number;
}

export interface PlanInput {
  readonly role: Role;
  /** Port that takes the traffic. */
  readonly listen: number;
  /** Port of the metrics. */
  readonly admin: number;
  /** An empty folder of this instance's own. */
  readonly folder: string;
  readonly identities: BenchIdentities;
}

/** Files to write into the instance's folder and how to start the program on them. */
export interface Plan {
  readonly files: Readonly<Record<string, string>>;
  readonly args: readonly string[];
}

export interface Peer {
  readonly name: PeerName;
  readonly version: string;
  readonly command: string;
  /** False = does no policy, tells the app nothing of the client and has no metrics: it only terminates and forwards. */
  readonly full: boolean;
  can(role: Pick<Role, 'direction' | 'protocol'>): boolean;
  plan(input: PlanInput): Plan;
}

/** Looks for a program on PATH, and in the folders where Debian puts daemons; null when it is nowhere. */
export function onPath(program: string): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  for (const folder of folders) {
    const path = join(folder, program);
    if (folder !== '' && isProgram(path)) return path;
  }
  return null;
}

/** Whether the file is there and may be executed. */
export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
