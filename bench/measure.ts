/** What a process used, from /proc: CPU (user and system, every thread) and resident memory. Linux only. */
import { readdirSync, readFileSync } from 'node:fs';

/** One tick of utime and stime in /proc/<pid>/stat: USER_HZ is 100 on every Linux that Node runs on. */
const TICK_MICROS = 10_000;
const STAT = { ppid: 1, utime: 11, stime: 12, cutime: 13, cstime: 14 } as const; // fields after the program's name, which may hold spaces

export interface Memory {
  /** Resident set now, MB (10^6 bytes). */
  readonly rssMb: number;
  /** Largest resident set since the start, MB. */
  readonly peakMb: number;
}

/** CPU that the processes and their descendants have used since they started, in microseconds (steps of 10,000). */
export function cpuMicros(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of withDescendants(pids)) {
    const fields = stat(pid);
    if (fields) ticks += Number(fields[STAT.utime]) + Number(fields[STAT.stime]);
  }
  return ticks * TICK_MICROS;
}

/** CPU that the whole machine has spent on anything but waiting, since it started, in microseconds. */
export function machineCpuMicros(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = read('/proc/stat')
    .split('\n', 1)
    .flatMap(line => line.split(/\s+/).slice(1).map(Number));
  return (user + nice + system + irq + softirq + steal) * TICK_MICROS;
}

/** CPU of this process, of its children that run and of those that have ended, and of theirs, in microseconds. */
export function ownCpuMicros(): number {
  const fields = stat(process.pid) ?? [];
  const ended = (Number(fields[STAT.cutime]) + Number(fields[STAT.cstime])) * TICK_MICROS;
  return ended + cpuMicros([process.pid]);
}

/** Resident memory of the processes and their descendants, added up: pages that they share count once for each. */
export function memory(pids: readonly number[]): Memory {
  let rssKiB = 0;
  let peakKiB = 0;
  for (const pid of withDescendants(pids)) {
    const text = read(`/proc/${pid}/status`);
    rssKiB += Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0);
    peakKiB += Number(/^VmHWM:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0);
  }
  return { rssMb: (rssKiB * 1024) / 1e6, peakMb: (peakKiB * 1024) / 1e6 };
}

function withDescendants(pids: readonly number[]): Set<number> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const parent = Number.isInteger(pid) ? Number(stat(pid)?.[STAT.ppid]) : Number.NaN;
    if (Number.isNaN(parent)) continue;
    const siblings = children.get(parent);
    if (siblings) siblings.push(pid);
    else children.set(parent, [pid]);
  }
  const all = new Set(pids);
  for (const pid of all) for (const child of children.get(pid) ?? []) all.add(child);
  return all;
}

function stat(pid: number): string[] | null {
  const text = read(`/proc/${pid}/stat`);
  return text === '' ? null : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // it ended in between
  }
}
