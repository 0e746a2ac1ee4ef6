/** What a CheckResponse means for a request, as Envoy's ext_authz filter takes it. */
import {
  isField,
  isRemovable,
  isRequestField,
  isWritable,
  joinedFields,
  separator,
} from './ext-authz-fields.ts';
import { editedTarget } from './ext-authz-query.ts';
import { ALLOWED, type AuthzQuestion, type Field } from './ext-authz-question.ts';
import type { CheckResponse, Consent, DeniedResponse, HeaderOption } from './ext-authz-response.ts';
import type { Denial, Verdict } from './ext-authz-verdict.ts';

/** HeaderValueOption.append_action. */
const OVERWRITE_IF_EXISTS_OR_ADD = 2;
const OVERWRITE_IF_EXISTS = 3;

/** `head` null: a TCP connection was asked about, which has nothing to change. */
export function verdictOf(response: CheckResponse, head: AuthzQuestion['head'] | null): Verdict {
  if (response.code === 0) {
    return response.ok === null || head === null
      ? { is: 'allowed', answer: ALLOWED }
      : consent(response.ok, head);
  }
  if (response.error !== null) {
    return { is: 'failed', why: `it reports code ${response.code}`, denial: denialOf(response.error) };
  }
  return { is: 'denied', denial: denialOf(response.denied ?? { status: 0, headers: [], body: NO_BODY }) };
}

const NO_BODY = Buffer.alloc(0);

function denialOf({ status, headers, body }: DeniedResponse): Denial {
  return { status, headers: headers.map(fieldOf), body };
}

function consent(ok: Consent, head: AuthzQuestion['head']): Verdict {
  const bad = [...ok.headers, ...ok.responseHeaders].map(fieldOf).find(field => !isField(field));
  if (bad !== undefined) return { is: 'unusable', why: `a field that no message can hold: ${nameOf(bad)}` };
  // A provider that moves the request elsewhere does not consent to the one that would go on without it.
  const stray = ok.headers.map(fieldOf).find(([name]) => !isRequestField(name));
  if (stray !== undefined) return { is: 'unusable', why: `a field that it may not write: ${nameOf(stray)}` };
  const remove = ok.remove.map(name => name.toLowerCase()).filter(isRemovable);
  const set = requestFields(ok.headers, head);
  for (const name of remove) set.delete(name);
  const responses = ok.responseHeaders.filter(option => isWritable(fieldOf(option)[0]));
  return {
    is: 'allowed',
    answer: {
      allow: true,
      set: [...set],
      remove,
      target: head.target.startsWith('/') ? editedTarget(head.target, ok.querySet, ok.queryRemove) : null,
      responseHeaders: responses.filter(option => !overwrites(option)).map(fieldOf),
      responseSet: responses.filter(overwrites).map(fieldOf),
    },
  };
}

/**
 * Envoy looks at the deprecated `append` here, not at append_action, and its default is to overwrite: a field that the
 * provider vouches for never stands beside one that the client sent. With `append` the value is joined to the one that is
 * there; where there is none, nothing is written.
 */
function requestFields(options: readonly HeaderOption[], head: AuthzQuestion['head']): Map<string, string> {
  const set = new Map(options.filter(({ append }) => append !== true).map(fieldOf));
  const appended = options.filter(({ append }) => append === true).map(fieldOf);
  const sent = appended.length === 0 ? null : joinedFields(head.headerLines);
  for (const [name, value] of appended) {
    const before = set.get(name) ?? sent?.get(name);
    if (before !== undefined) set.set(name, `${before}${separator(name)}${value}`);
  }
  return set;
}

/** Whether a field of the response takes the place of the app's; `append` is asked first, then append_action. */
function overwrites({ append, action }: HeaderOption): boolean {
  if (append !== null) return !append;
  return action === OVERWRITE_IF_EXISTS_OR_ADD || action === OVERWRITE_IF_EXISTS;
}

function fieldOf({ field: [name, value] }: HeaderOption): Field {
  return [name.toLowerCase(), value];
}

/** For the log: a name of printable characters, cut. */
function nameOf([name]: Field): string {
  return JSON.stringify(name.slice(0, 64));
}
