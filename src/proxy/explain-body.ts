/** `POST /explain`: one JSON request a line in, one JSON decision a line out, evaluated on what is in force. */
import type { Resources, Workload } from '../config/resources.ts';
import type { KeySets } from '../identity/jwks-source.ts';
import { Explainer } from '../policy/explain.ts';
import { parseExplainRequest } from '../policy/explain-request.ts';
import { frontDoor } from './front-door.ts';

/** Most requests in one body. */
const MAX_LINES = 1_000;

/**
 * @param keySets the keys in force, by `keySource`
 * @param federated the trust domains that the identity in force federates with
 */
export async function explainBody(
  body: string,
  resources: Resources,
  workload: Workload,
  keySets: KeySets = {},
  federated: readonly string[] = [],
): Promise<{ status: number; lines: string[] }> {
  const asked = body.split('\n').filter(line => line.trim() !== '');
  if (asked.length === 0) return { status: 400, lines: ['the body has no request: one JSON object a line'] };
  if (asked.length > MAX_LINES)
    return { status: 400, lines: [`more than ${MAX_LINES} requests in one body`] };
  const explainer = new Explainer(resources, workload, frontDoor(keySets, federated));
  const lines: string[] = [];
  for (const [index, line] of asked.entries()) {
    const parsed = parse(line);
    if (!parsed.ok) return { status: 400, lines: [`line ${index + 1}: ${parsed.reason}`] };
    lines.push(JSON.stringify(await explainer.explain(parsed.request)));
  }
  return { status: 200, lines };
}

function parse(line: string): ReturnType<typeof parseExplainRequest> {
  try {
    return parseExplainRequest(JSON.parse(line));
  } catch {
    return { ok: false, reason: 'not JSON' };
  }
}
