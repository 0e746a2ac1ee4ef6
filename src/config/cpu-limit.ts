import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

const MAX_WORKERS = 4; // a sidecar beside an app; more is for whoever says so

/** How many data-plane threads: the flag, else the mesh config's concurrency (0 = every CPU), else the CPU limit. */
export function workerCount(flag: number | null, concurrency: number | null): number {
  if (flag !== null) return flag;
  if (concurrency === 0) return availableParallelism();
  return concurrency ?? defaultWorkerCount(cpuLimit(), availableParallelism());
}

/** The CPU limit, or without one the machine's CPUs; rounded up, at most 4. */
export function defaultWorkerCount(limit: number | null, cpus: number): number {
  return Math.max(1, Math.min(MAX_WORKERS, cpus, Math.ceil(limit ?? cpus)));
}

/**
 * CPUs that the control group allows: cgroup v2 `cpu.max`, v1 `cpu.cfs_quota_us`, of this process's own group as its
 * container sees it. Null = no limit, or none that can be read.
 */
export function cpuLimit(root = '/sys/fs/cgroup'): number | null {
  const [quota, period] = read(join(root, 'cpu.max'))?.split(/\s+/) ?? [];
  if (quota !== undefined) return ratio(quota, period);
  for (const controller of ['cpu', 'cpu,cpuacct']) {
    const v1 = read(join(root, controller, 'cpu.cfs_quota_us'));
    if (v1 !== null) return ratio(v1, read(join(root, controller, 'cpu.cfs_period_us')) ?? undefined);
  }
  return null;
}

/** `max` and -1 are no limit. */
function ratio(quota: string, period: string | undefined): number | null {
  const limit = Number(quota) / Number(period);
  return Number.isFinite(limit) && limit > 0 ? limit : null;
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return null;
  }
}
