import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { FolderWatch } from '../../src/identity/folder-watch.ts';
import { temporaryFolder } from '../certificates.ts';

/** A watch, and the hints that it gave. */
function watching(t: { teardown(fn: () => void): unknown }, dir: string) {
  const held = setInterval(() => {}, 1_000); // the watch holds no process up
  t.teardown(() => clearInterval(held));
  let hints = 0;
  let wake = (): void => {};
  const watch = new FolderWatch(dir, () => {
    hints++;
    wake();
  });
  t.teardown(() => watch.close());
  const hinted = async (act: () => void): Promise<void> => {
    await turn(); // what was there before has been said
    const before = hints;
    act();
    while (hints === before) await new Promise<void>(resolve => (wake = resolve));
  };
  return { watch, hinted };
}

t.test(
  'a folder that is removed and made again is watched again, also with the inode of the old one',
  async t => {
    const dir = join(temporaryFolder(t), 'certs');
    mkdirSync(dir);
    const { watch, hinted } = watching(t, dir);
    watch.renew();
    for (let again = 0; again < 5; again++) {
      await hinted(() => {
        rmSync(dir, { recursive: true });
        mkdirSync(dir);
      });
      watch.renew(); // as the poll does; once it found the folder, no poll is needed
      await hinted(() => writeFileSync(join(dir, 'key.pem'), `${again}`));
      await hinted(() => writeFileSync(join(dir, 'cert-chain.pem'), `${again}`));
    }
    t.pass('each change of each folder was hinted at');
  },
);

t.test('a folder that another one takes the place of is left for that one', async t => {
  const parent = temporaryFolder(t);
  const dir = join(parent, 'certs');
  mkdirSync(dir);
  const { watch, hinted } = watching(t, dir);
  watch.renew();
  mkdirSync(join(parent, 'next'));
  await hinted(() => {
    renameSync(dir, join(parent, 'before'));
    renameSync(join(parent, 'next'), dir);
  });
  watch.renew();
  await hinted(() => writeFileSync(join(dir, 'key.pem'), 'x'));
  t.pass('hinted at');
});
