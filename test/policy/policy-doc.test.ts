import { readFileSync } from 'node:fs';
import t from 'tap';
import { commandsOf, freshPage, POLICY_DOC } from '../../scripts/policy-doc.ts';

const PAGE = readFileSync(POLICY_DOC, 'utf8');

t.test('docs/POLICY.md shows what its commands print today', async t => {
  t.equal(await freshPage(PAGE), PAGE, 'else `node scripts/policy-doc.ts` writes it anew');
});

t.test('it shows explain, check and replay at work, and its picture is there', async t => {
  const commands = commandsOf(PAGE);
  for (const name of ['explain', 'check', 'replay']) {
    t.ok(
      commands.some(command => command.includes(`outrider ${name} `)),
      name,
    );
  }
  const [, picture] = /!\[[^\]]+\]\((images\/[^)]+)\)/.exec(PAGE) ?? [];
  t.match(readFileSync(new URL(`../../docs/${picture}`, import.meta.url), 'utf8'), /^<svg /);
});

t.test('the commands of a block are found with the lines that continue them', async t => {
  t.same(commandsOf('$ a \\\n  b\nsaid\n$ c\n'), ['a \\\n  b', 'c']);
});
