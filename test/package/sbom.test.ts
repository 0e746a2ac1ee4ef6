/** The bill of materials: what the package is made of, and the same bytes for the same sources. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { bundledPackages } from '../../scripts/licenses.ts';
import { sbom } from '../../scripts/sbom.ts';
import { buildElsewhere, ROOT } from './built.ts';

t.setTimeout(120_000);

const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
const AT = { SOURCE_DATE_EPOCH: '1700000000' };

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly hashes?: readonly { readonly alg: string }[];
  readonly licenses?: readonly unknown[];
}

const bill = JSON.parse(sbom('cyclonedx', AT));
const components: readonly Component[] = bill.components;

t.test('lists every runtime dependency in the version that the lock file has, with its digest', async t => {
  for (const [name, version] of Object.entries({
    ...manifest.dependencies,
    ...manifest.optionalDependencies,
  })) {
    const found = components.find(one => one.name === name && one.version === version);
    t.ok(found, `${name} ${version}`);
    t.match(found?.hashes, [{ alg: 'SHA-512' }], `${name}: digest`);
  }
});

t.test('lists whatever is inside the bundle', async t => {
  const built = await buildElsewhere();
  t.teardown(() => built.remove());
  const names = new Set(components.map(({ name }) => name));
  const bundled = bundledPackages(built.metafile).map(path => path.replace(/^.*node_modules\//, ''));
  t.ok(bundled.length > 5);
  t.same(
    bundled.filter(name => !names.has(name)),
    [],
  );
});

t.test('lists nothing that is for development only', async t => {
  const names = new Set(components.map(({ name }) => name));
  // protobufjs asks for the types of Node as well.
  t.same(
    Object.keys(manifest.devDependencies).filter(name => name !== '@types/node' && names.has(name)),
    [],
  );
});

t.test('is about Outrider, at the time that it is told', async t => {
  t.match(bill, {
    bomFormat: 'CycloneDX',
    metadata: {
      timestamp: '2023-11-14T22:13:20.000Z',
      component: { name: 'outrider', version: manifest.version },
    },
  });
  t.match(
    bill.serialNumber,
    /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
});

t.test('is the same each time, and says so by its serial number', async t => {
  t.same(JSON.parse(sbom('cyclonedx', AT)), bill);
  t.not(JSON.parse(sbom('cyclonedx', { SOURCE_DATE_EPOCH: '1' })).serialNumber, bill.serialNumber);
  t.throws(() => sbom('cyclonedx', { SOURCE_DATE_EPOCH: 'now' }), /SOURCE_DATE_EPOCH/);
});

t.test('comes as SPDX too', async t => {
  const spdx = JSON.parse(sbom('spdx', AT));
  t.match(spdx, { spdxVersion: 'SPDX-2.3', creationInfo: { created: '2023-11-14T22:13:20Z' } });
  const names = new Set(spdx.packages.map(({ name }: Component) => name));
  t.same(
    Object.keys(manifest.dependencies).filter(name => !names.has(name)),
    [],
  );
});
