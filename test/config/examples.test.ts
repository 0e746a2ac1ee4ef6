import { fileURLToPath } from 'node:url';
import t from 'tap';
import { runCheck } from '../../src/cli/check.ts';
import { loadManifests } from '../../src/config/manifest.ts';

const EXAMPLES = fileURLToPath(new URL('../../config/examples', import.meta.url));

t.test('the example configuration passes check without a fault or a warning', async t => {
  const lines: string[] = [];
  const code = await runCheck([EXAMPLES], {
    json: false,
    print: line => lines.push(line),
    summarise: () => {},
  });
  t.same(lines, []);
  t.equal(code, 0);
});

t.test('it holds every kind that Outrider reads', async t => {
  const loaded = loadManifests([EXAMPLES]);
  if (!loaded.ok) throw new Error('refused');
  const { mesh, ...lists } = loaded.resources;
  t.equal(mesh.outboundTrafficPolicy, 'REGISTRY_ONLY');
  for (const [kind, list] of Object.entries(lists)) t.ok(list.length > 0, kind);
});
