import { readFileSync } from 'node:fs';
import t from 'tap';
import { entriesOf, INTEROP_DOC } from '../../scripts/interop-doc.ts';
import { NOT_YET } from './not-yet.ts';
import { nameOf } from './stage.ts';
import { ROWS } from './suite.ts';

const told = entriesOf(readFileSync(INTEROP_DOC, 'utf8'));

t.test(
  'docs/INTEROP.md lists the rows of the suite, each once, with the result that the suite insists on',
  async t => {
    const insisted = ROWS.map(({ peer, protocol, direction, what, ...row }) => ({
      peer,
      protocol,
      direction,
      what,
      result: NOT_YET.includes(nameOf({ peer, protocol, direction, what, ...row })) ? 'fails' : 'passes',
    }));
    t.strictSame(
      told.map(({ version: _, ...entry }) => entry),
      insisted,
      'else `node scripts/interop-doc.ts` writes it anew',
    );
    t.ok(told.every(({ version }) => /^\d+\.\d+\.\d+$/.test(version)));
  },
);

t.test('no two rows have one name, and what cannot pass yet is among them', async t => {
  const names = ROWS.map(nameOf);
  t.equal(new Set(names).size, names.length);
  t.strictSame(
    NOT_YET.filter(name => !names.includes(name)),
    [],
  );
});
