import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { cpuLimit, defaultWorkerCount, workerCount } from '../../src/config/cpu-limit.ts';

/** A control group file system with these files. */
function groups(t: Test, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'outrider-cgroup-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

const V1 = 'cpu/cpu.cfs_quota_us';
const V1_PERIOD = 'cpu/cpu.cfs_period_us';
const LIMITS: readonly (readonly [title: string, files: Record<string, string>, limit: number | null])[] = [
  ['version 2: quota and period', { 'cpu.max': '150000 100000\n' }, 1.5],
  ['version 2: no limit', { 'cpu.max': 'max 100000\n' }, null],
  ['version 1: quota and period', { [V1]: '50000\n', [V1_PERIOD]: '100000\n' }, 0.5],
  ['version 1: no limit', { [V1]: '-1\n', [V1_PERIOD]: '100000\n' }, null],
  [
    'version 1, in the joint folder',
    { 'cpu,cpuacct/cpu.cfs_quota_us': '200000', 'cpu,cpuacct/cpu.cfs_period_us': '100000' },
    2,
  ],
  ['nothing there', {}, null],
  ['nonsense', { 'cpu.max': 'x y' }, null],
  ['half of it', { 'cpu.max': '1000' }, null],
];

for (const [title, files, limit] of LIMITS) {
  t.test(title, async t => {
    t.equal(cpuLimit(groups(t, files)), limit);
  });
}

t.test('workers are the limit rounded up, at most four, at most the CPUs, at least one', async t => {
  t.equal(defaultWorkerCount(0.1, 8), 1);
  t.equal(defaultWorkerCount(1.5, 8), 2);
  t.equal(defaultWorkerCount(6, 8), 4);
  t.equal(defaultWorkerCount(null, 8), 4);
  t.equal(defaultWorkerCount(null, 1), 1);
  t.equal(defaultWorkerCount(8, 2), 2);
});

t.test('the flag wins over the mesh config, which wins over the machine', async t => {
  t.equal(workerCount(7, 3), 7);
  t.equal(workerCount(null, 3), 3);
  t.ok(workerCount(null, 0) >= 1, 'concurrency 0 is every CPU');
  t.ok(workerCount(null, null) <= 4);
});
