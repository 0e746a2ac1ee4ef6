/** config/kubernetes is what Kubernetes takes, says what the documents say, and its policies are good. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { parseWebhook } from '../../src/cli/webhook.ts';
import { loadManifests } from '../../src/config/manifest.ts';
import { injectText, KUBERNETES_YAML } from '../../src/inject/manifests.ts';
import { ownTemplate } from '../../src/inject/template.ts';
import { temporaryFolder } from '../certificates.ts';
import { schemaFaults } from './kubernetes-schema.ts';

const FOLDER = fileURLToPath(new URL('../../config/kubernetes/', import.meta.url));
/** Their schemas are not Kubernetes' own. */
const OTHERS = ['Kustomization', 'Issuer', 'Certificate'];

type Manifest = Record<string, unknown> & { readonly kind: string };

function files(folder: string): readonly string[] {
  return readdirSync(folder)
    .filter(name => name.endsWith('.yaml'))
    .map(name => join(folder, name));
}

function documentsOf(text: string): readonly Manifest[] {
  return parseAllDocuments(text, KUBERNETES_YAML as object).map(document => document.toJS() as Manifest);
}

function manifests(folder: string): readonly Manifest[] {
  return files(folder).flatMap(file => documentsOf(readFileSync(file, 'utf8')));
}

const INSTALL = manifests(FOLDER);
const EXAMPLE = manifests(join(FOLDER, 'example'));

function one(all: readonly Manifest[], kind: string): Manifest {
  const [found, ...more] = all.filter(manifest => manifest.kind === kind);
  if (found === undefined || more.length > 0) throw new Error(`one ${kind}`);
  return found;
}

function named(all: readonly Manifest[], kind: string, name: string): Manifest {
  return one(
    all.filter(({ metadata }) => (metadata as { readonly name?: string } | undefined)?.name === name),
    kind,
  );
}

t.test('every manifest is valid for Kubernetes', async t => {
  for (const manifest of [...INSTALL, ...EXAMPLE]) {
    const faults = schemaFaults(manifest);
    if (faults === null) t.ok(OTHERS.includes(manifest.kind), `${manifest.kind} has no schema`);
    else t.same(faults, [], manifest.kind);
  }
});

t.test('every file stands in its kustomization, and every name there is a file', async t => {
  for (const folder of [FOLDER, join(FOLDER, 'example')]) {
    const names = files(folder).map(file => file.slice(folder.length).replace('/', ''));
    const kustomization = one(manifests(folder), 'Kustomization');
    t.same([...(kustomization.resources as string[]), 'kustomization.yaml'].sort(), names.sort());
  }
});

t.test("the webhook's flags are flags, and its names fit together", async t => {
  const { template } = one(INSTALL, 'Deployment').spec as {
    template: { spec: { containers: { args: string[] }[] } };
  };
  const [command, ...flags] = template.spec.containers[0]?.args ?? [];
  t.equal(command, 'webhook');
  t.match(parseWebhook(flags), {
    ok: true,
    value: { certs: '/etc/outrider/webhook', listen: { port: 8443 }, configMap: 'outrider' },
  });
  const { webhooks } = one(INSTALL, 'MutatingWebhookConfiguration') as unknown as {
    webhooks: {
      clientConfig: { service: { name: string; namespace: string; path: string } };
      failurePolicy: string;
    }[];
  };
  const { dnsNames } = named(INSTALL, 'Certificate', 'outrider-webhook').spec as { dnsNames: string[] };
  t.equal(webhooks.length, 2);
  for (const { clientConfig, failurePolicy } of webhooks) {
    const { name, namespace, path } = clientConfig.service;
    t.same([path, failurePolicy], ['/inject', 'Fail']);
    t.ok(dnsNames.includes(`${name}.${namespace}.svc`), 'the API server asks for this name');
    t.match(one(INSTALL, 'Service'), { metadata: { name } });
    t.match(one(INSTALL, 'Namespace'), { metadata: { name: namespace } });
  }
});

t.test("a renewal of the webhook's certificate leaves whom the API server trusts", async t => {
  const issuerOf = (certificate: Manifest): Manifest =>
    named(INSTALL, 'Issuer', (certificate.spec as { issuerRef: { name: string } }).issuerRef.name);
  const { annotations } = one(INSTALL, 'MutatingWebhookConfiguration').metadata as {
    annotations: Record<string, string>;
  };
  const [, name = ''] = (annotations['cert-manager.io/inject-ca-from'] ?? '').split('/');
  const leaf = named(INSTALL, 'Certificate', name);
  const { ca } = issuerOf(leaf).spec as { ca?: { secretName: string } };
  t.ok(ca, 'a self-signed certificate would be its own CA, another one at each renewal');
  const root = named(INSTALL, 'Certificate', ca?.secretName ?? '');
  t.match(root.spec, {
    isCA: true,
    secretName: ca?.secretName,
    commonName: String,
    privateKey: { rotationPolicy: 'Never' },
  });
  t.match(issuerOf(root).spec, { selfSigned: {} });
});

const without = spawnSync('kubectl', ['version', '--client']).status !== 0 && 'kubectl is not here';

t.test(
  'kustomize puts one image into the Deployment and into the pods of the mesh',
  { skip: without },
  async t => {
    const output = execFileSync('kubectl', ['kustomize', FOLDER], { encoding: 'utf8' });
    const built = documentsOf(output);
    for (const manifest of built) t.same(schemaFaults(manifest) ?? [], [], manifest.kind);
    t.match(one(built, 'Deployment').spec, {
      template: {
        spec: {
          containers: [
            {
              image: 'outrider:0.1.0',
              env: [{ name: 'IMAGE', value: 'outrider:0.1.0' }],
            },
          ],
        },
      },
    });
    t.match(one(built, 'Deployment').metadata, { namespace: 'outrider-system' });
  },
);

t.test("the example's policies have no fault and no warning", async t => {
  const folder = temporaryFolder(t);
  const { data } = one(EXAMPLE, 'ConfigMap') as unknown as { data: Record<string, string> };
  for (const [name, text] of Object.entries(data)) writeFileSync(join(folder, name), text);
  const loaded = loadManifests([folder], { namespace: 'shop', labels: { app: 'orders' } });
  t.ok(loaded.ok);
  t.same(loaded.ok ? loaded.warnings : loaded.faults, []);
});

t.test("the example's apps are injected", async t => {
  const own = ownTemplate();
  if (!own.ok) throw new Error(own.message);
  const settings = {
    template: own.template,
    image: 'x',
    imagePullPolicy: null,
    captureImage: null,
    identity: 'csi',
    spireSocket: '',
    configMap: 'outrider',
    classic: false,
  } as const;
  for (const name of ['orders', 'web']) {
    const { text, injected, messages } = injectText(
      readFileSync(join(FOLDER, 'example', `${name}.yaml`), 'utf8'),
      name,
      settings,
    );
    t.same([injected, messages], [1, []], name);
    for (const manifest of documentsOf(text)) t.same(schemaFaults(manifest), [], manifest.kind);
  }
});
