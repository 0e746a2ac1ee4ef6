import t from 'tap';
import { fold, Paper } from '../../src/cli/demo-paper.ts';

const RED = '\u001b[31m';

function written(
  terminal: { isTTY?: boolean; columns?: number },
  environment: Record<string, string>,
): string {
  let text = '';
  const paper = new Paper({ ...terminal, write: (part: string) => (text += part) }, environment);
  paper.row('gets', ' RBAC: access denied', '403', 'bad');
  return text;
}

t.test('colour on a terminal only, and never against NO_COLOR or on a dumb one', async t => {
  t.match(written({ isTTY: true }, {}), RED);
  t.match(written({ isTTY: true }, { NO_COLOR: '' }), RED, 'an empty NO_COLOR is none');
  t.notMatch(written({ isTTY: true }, { NO_COLOR: '1' }), '\u001b');
  t.notMatch(written({ isTTY: true }, { TERM: 'dumb' }), '\u001b');
  t.equal(written({}, {}), '  gets     403 RBAC: access denied\n');
});

t.test('rows are folded to the terminal, at words, under their text', async t => {
  let text = '';
  const paper = new Paper({ columns: 72, write: (part: string) => (text += part) }, {});
  paper.row('why', Array.from({ length: 30 }, () => 'word').join(' '));
  const lines = text.trimEnd().split('\n');
  t.equal(lines.length, 3);
  t.ok(lines.every(line => line.length < 72));
  t.match(lines[1], /^ {11}word/);
});

t.test(
  'a word longer than the line stands alone, and a control character never reaches the terminal',
  async t => {
    t.same(fold('a spiffe://very/long b', 6), ['a', 'spiffe://very/long', 'b']);
    t.same(fold('GET /\u001b[2J\u009b\r\n\u2028', 80), ['GET /?[2J????']);
  },
);

t.test('after close nothing is written', async t => {
  const paper = new Paper({ write: () => t.fail('written') }, {});
  paper.close();
  paper.line('late');
  t.pass();
});
