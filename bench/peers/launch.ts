/** Starts one instance of a peer on free ports and waits until its traffic port accepts. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { BenchIdentities } from '../certificates.ts';
import { type Child, end, start } from '../children.ts';
import type { Peer, Role } from './peer.ts';

const READY_MS = 20_000;
const POLL_MS = 2;

/** A running peer. */
export interface Instance {
  readonly peer: Peer;
  readonly role: Role;
  readonly child: Child;
  /** Port on 127.0.0.1 that takes the traffic. */
  readonly port: number;
  /** Port on 127.0.0.1 with the peer's metrics. */
  readonly admin: number;
  stop(): Promise<void>;
}

export interface Place {
  /** A folder for the instances' own folders. */
  readonly folder: string;
  readonly identities: BenchIdentities;
}

/** Starts the program, without waiting for anything but its existence. */
export async function spawnPeer(peer: Peer, role: Role, place: Place): Promise<Instance> {
  const [port = 0, admin = 0] = await freePorts(2);
  mkdirSync(place.folder, { recursive: true });
  const folder = mkdtempSync(join(place.folder, `${peer.name}-`));
  const plan = peer.plan({ role, listen: port, admin, folder, identities: place.identities });
  for (const [file, text] of Object.entries(plan.files)) writeFileSync(join(folder, file), text);
  const child = await start(peer.command, plan.args);
  return { peer, role, child, port, admin, stop: () => end(child) };
}

/** Starts the program and waits until it accepts. Rejects, with the program's last words, when it does not. */
export async function launch(peer: Peer, role: Role, place: Place): Promise<Instance> {
  const instance = await spawnPeer(peer, role, place);
  const deadline = performance.now() + READY_MS;
  while (!(await accepts(instance.port))) {
    if (instance.child.process.exitCode !== null || performance.now() > deadline) {
      await instance.stop();
      throw new Error(`${peer.name} did not come up: ${instance.child.output() || 'it said nothing'}`);
    }
    await pause(POLL_MS);
  }
  return instance;
}

/** Whether the port takes a connection: cheaper than a try at TLS, so polling costs the starting program less. */
export function accepts(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Ports that were free a moment ago. Another process could take one before it is used: then that launch fails. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      server =>
        new Promise<number>(resolve => {
          server.listen(0, '127.0.0.1', () => {
            const address = server.address();
            resolve(typeof address === 'object' && address ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))));
  return ports;
}
