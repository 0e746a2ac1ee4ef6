/** One AdmissionReview (admission.k8s.io/v1): the pod with the sidecar, as a JSON Patch. */
import { asJsonPatch, editsBetween } from './json-patch.ts';
import { isObject, type Json, type JsonObject, objectOf, textOf } from './json-value.ts';
import type { Note } from './notes.ts';
import { type InjectSettings, injectPod } from './pod.ts';
import { type Owner, podOwner } from './workloads.ts';

/** What the API server gets, and what the log says of it. */
export type Reviewed =
  | { readonly ok: true; readonly review: JsonObject; readonly outcome: ReviewOutcome }
  /** No AdmissionReview of version 1. */
  | { readonly ok: false; readonly why: string };

export interface ReviewOutcome {
  readonly what: 'injected' | 'left' | 'refused';
  readonly owner: Owner | null;
  readonly why: string | null;
  readonly warnings: readonly string[];
  readonly dryRun: boolean;
}

const API_VERSION = 'admission.k8s.io/v1';
const BAD_REQUEST = 400;
const MAX_WARNING = 256; // characters; the API server cuts off the rest of all warnings at 4 KiB

/** Answers one review. A pod whose annotations are wrong is not allowed: it would run without what it asks for. */
export function answerReview(body: string, settings: InjectSettings): Reviewed {
  const review = parsed(body);
  if (review?.kind !== 'AdmissionReview') return { ok: false, why: 'the body is no AdmissionReview' };
  if (review.apiVersion !== API_VERSION) {
    return { ok: false, why: `apiVersion must be ${API_VERSION}, not ${JSON.stringify(review.apiVersion)}` };
  }
  const request = objectOf(review.request);
  const uid = textOf(request.uid);
  if (uid === '') return { ok: false, why: 'request.uid is missing' };
  const { response, outcome } = decide(request, settings);
  const { warnings } = outcome;
  return {
    ok: true,
    review: {
      apiVersion: API_VERSION,
      kind: 'AdmissionReview',
      response: { uid, ...response, ...(warnings.length > 0 && { warnings }) },
    },
    outcome,
  };
}

function parsed(body: string): JsonObject | null {
  try {
    const value: Json = JSON.parse(body);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

interface Decided {
  readonly response: JsonObject;
  readonly outcome: ReviewOutcome;
}

function decide(request: JsonObject, settings: InjectSettings): Decided {
  const dryRun = request.dryRun === true;
  const { group, kind } = objectOf(request.kind);
  const pod = request.object;
  if (group !== '' || kind !== 'Pod' || request.operation !== 'CREATE' || !isObject(pod)) {
    return allowed(null, { what: 'left', owner: null, why: 'not a new pod', warnings: [], dryRun });
  }
  const owner = podOwner(objectOf(pod.metadata), textOf(request.namespace));
  const outcome = injectPod(pod, owner, settings);
  const warnings = outcome.notes.filter(({ severity }) => severity === 'warning').map(textOfNote);
  if (outcome.is === 'left')
    return allowed(null, { what: 'left', owner, why: outcome.why, warnings, dryRun });
  if (outcome.is === 'injected') {
    const patch = asJsonPatch(editsBetween(pod, outcome.pod));
    return allowed(patch, { what: 'injected', owner, why: null, warnings, dryRun });
  }
  const why = outcome.notes
    .filter(({ severity }) => severity === 'error')
    .map(textOfNote)
    .join('; ');
  return {
    response: {
      allowed: false,
      status: { code: BAD_REQUEST, reason: 'BadRequest', message: `outrider: ${why}` },
    },
    outcome: { what: 'refused', owner, why, warnings, dryRun },
  };
}

function allowed(patch: readonly JsonObject[] | null, outcome: ReviewOutcome): Decided {
  if (patch === null) return { response: { allowed: true }, outcome };
  const encoded = Buffer.from(JSON.stringify(patch)).toString('base64');
  return { response: { allowed: true, patchType: 'JSONPatch', patch: encoded }, outcome };
}

function textOfNote({ path, message }: Note): string {
  const [first, second] = path;
  const place = first === 'metadata' && second === 'annotations' ? '' : `${path.join('.')}: `;
  return `${place}${message}`.slice(0, MAX_WARNING);
}
