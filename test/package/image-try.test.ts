/** What `npm run image:try` does where it cannot do its work; with an engine it is its own test. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { temporaryFolder } from '../certificates.ts';
import { ROOT } from './built.ts';
import { run } from './run.ts';

const SCRIPT = join(ROOT, 'scripts/image-try.ts');

t.test('without a container engine it says what it wants', async t => {
  const { code, stdout, stderr } = await run(process.execPath, [SCRIPT], { env: { PATH: '/nonexistent' } });
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /^no container engine answers: install Docker or Podman/);
});

t.test('a step that fails ends it with what the engine said', async t => {
  const engine = join(temporaryFolder(t), 'podman');
  await writeFile(engine, '#!/bin/sh\n[ "$1" = version ] || { echo "no space left" >&2; exit 125; }\n', {
    mode: 0o755,
  });
  const { code, stdout, stderr } = await run(process.execPath, [SCRIPT, '--pull=never'], {
    env: { ENGINE: engine },
  });
  t.equal(code, 1);
  t.equal(stdout, `engine   ${engine}\n`);
  t.equal(
    stderr,
    `image    failed: ${engine} build -t outrider:try --format=docker --pull=never .\nno space left\n`,
  );
});
