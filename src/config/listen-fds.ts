/** Sockets that whoever started this process opened for it, systemd by a socket unit: sd_listen_fds(3). */
import type { Environment } from './environment.ts';

export interface ListenFd {
  readonly descriptor: number;
  /** `FileDescriptorName=` of the socket unit; `unknown` where there is none, as in sd_listen_fds_with_names(3). */
  readonly name: string;
}

const SD_LISTEN_FDS_START = 3;
/** Set by bin/outrider.js, whose child this is then: the descriptors are ours, LISTEN_PID is still the parent's. */
const PARENT = 'OUTRIDER_LISTEN_PARENT';
const VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID', PARENT];

/** Reads them once: what this process starts later finds no variable that speaks of sockets. @throws Error as `parseListenFds` */
export function takeListenFds(): readonly ListenFd[] {
  const found = { ...process.env };
  for (const name of VARIABLES) delete process.env[name];
  return parseListenFds(found, process);
}

/**
 * @param own the ids of this process and of its parent
 * @returns none where they are another process's
 * @throws Error when LISTEN_FDS is no number
 */
export function parseListenFds(
  environment: Environment,
  own: { readonly pid: number; readonly ppid: number },
): readonly ListenFd[] {
  const { LISTEN_PID: meant, LISTEN_FDS: count = '', LISTEN_FDNAMES: names = '' } = environment;
  const passedOn = environment[PARENT] === meant && meant === String(own.ppid);
  if (meant !== String(own.pid) && !passedOn) return [];
  if (!/^\d{1,4}$/.test(count)) throw new Error(`LISTEN_FDS is '${count}', and no number of descriptors`);
  const named = names.split(':');
  return Array.from({ length: Number(count) }, (_, index) => ({
    descriptor: SD_LISTEN_FDS_START + index,
    name: named[index] || 'unknown',
  }));
}
