/** Kubernetes' own schemas (kubernetes-schema.jsonl says of which version), strict: a field that they do not know is a fault. */
import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';

type Schema = Record<string, unknown>;
interface Named {
  readonly name: string;
  readonly schema: Schema;
}

const LINES = readFileSync(new URL('kubernetes-schema.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n');
const SCHEMAS: readonly Named[] = LINES.slice(1).map(line => JSON.parse(line) as Named);
/** What the API takes and the document does not say. */
const LOOSER: Readonly<Record<string, Schema>> = {
  'io.k8s.apimachinery.pkg.util.intstr.IntOrString': { type: ['integer', 'string'] },
  'io.k8s.apimachinery.pkg.api.resource.Quantity': { type: ['number', 'string'] },
};

const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
ajv.addSchema({
  $id: 'kubernetes',
  definitions: Object.fromEntries(SCHEMAS.map(({ name, schema }) => [name, LOOSER[name] ?? strict(schema)])),
});

function strict(schema: Schema): Schema {
  return schema.properties === undefined ? schema : { additionalProperties: false, ...schema };
}

const KINDS = new Map<string, ValidateFunction>();
for (const { name, schema } of SCHEMAS) {
  const groups = (schema['x-kubernetes-group-version-kind'] ?? []) as Record<string, string>[];
  for (const { group, version, kind } of groups) {
    const key = `${group ? `${group}/` : ''}${version} ${kind}`;
    KINDS.set(key, ajv.compile({ $ref: `kubernetes#/definitions/${name}` }));
  }
}

/** What Kubernetes would say of a manifest; null for a kind whose schema is not here. A List's items are looked at each. */
export function schemaFaults(manifest: unknown): readonly string[] | null {
  const { apiVersion, kind, items } = manifest as Record<string, unknown>;
  if (kind === 'List' && Array.isArray(items)) return items.flatMap(item => schemaFaults(item) ?? []);
  const validate = KINDS.get(`${String(apiVersion)} ${String(kind)}`);
  if (validate === undefined) return null;
  validate(manifest);
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  );
}
