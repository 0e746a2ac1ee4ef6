/**
 * Cuts the schemas that the tests of injection need out of Kubernetes' OpenAPI document:
 * `node scripts/kubernetes-schema.ts SWAGGER VERSION > test/inject/kubernetes-schema.jsonl`.
 * SWAGGER is api/openapi-spec/swagger.json of the Go module k8s.io/kubernetes. Descriptions are left out.
 */

import { readFileSync } from 'node:fs';

const API = 'io.k8s.api';
const ROOTS = [
  ...['Pod', 'ReplicationController', 'ConfigMap', 'Namespace', 'Service', 'ServiceAccount'].map(
    kind => `${API}.core.v1.${kind}`,
  ),
  ...['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'].map(kind => `${API}.apps.v1.${kind}`),
  ...['Job', 'CronJob'].map(kind => `${API}.batch.v1.${kind}`),
  `${API}.admissionregistration.v1.MutatingWebhookConfiguration`,
  `${API}.policy.v1.PodDisruptionBudget`,
];

type Definitions = Readonly<Record<string, unknown>>;

function reachable(definitions: Definitions): readonly string[] {
  const seen = new Set<string>();
  const follow = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    JSON.stringify(definitions[name], (key, value) => {
      if (key === '$ref') follow(String(value).replace('#/definitions/', ''));
      return value;
    });
  };
  for (const root of ROOTS) follow(root);
  return [...seen].sort();
}

/** What a validator has no use for. A field that is itself called `description` is a mapping and stays. */
function bare(key: string, value: unknown): unknown {
  const noise =
    key === 'description' ? typeof value === 'string' : /^x-kubernetes-(?!group-version)/.test(key);
  return noise ? undefined : value;
}

if (import.meta.main) {
  const [file, version] = process.argv.slice(2);
  if (file === undefined || version === undefined)
    throw new Error('usage: kubernetes-schema.ts SWAGGER VERSION');
  const { definitions } = JSON.parse(readFileSync(file, 'utf8')) as { definitions: Definitions };
  const source = `k8s.io/kubernetes ${version}, api/openapi-spec/swagger.json, Apache-2.0; scripts/kubernetes-schema.ts`;
  console.log(JSON.stringify({ source }));
  for (const name of reachable(definitions))
    console.log(JSON.stringify({ name, schema: definitions[name] }, bare));
}
