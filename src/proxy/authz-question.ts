/** What an external authorizer is told of a request: the fields as the app would get them. */
import { randomUUID } from 'node:crypto';
import { plainName } from '../http/header-edits.ts';
import type { AuthzQuestion, Field } from './ext-authz-question.ts';
import type { InboundView } from './inbound-http.ts';
import type { ProxiedRequest } from './request.ts';

/**
 * @param target the normalised path with its query
 * @param body its start; null = the provider does not ask for it
 */
export function authzQuestion(
  request: ProxiedRequest,
  view: InboundView,
  target: string,
  body: Buffer | null,
  bodyPartial: boolean,
): AuthzQuestion {
  const { head } = request.exchange;
  request.record.requestId ??= randomUUID();
  return {
    head: { method: head.method, host: head.host, target, headerLines: fieldsOf(request, view) },
    body,
    bodyPartial,
    connection: view.authzConnection,
    protocol: `HTTP/${head.version}`,
    requestId: request.record.requestId,
  };
}

function fieldsOf(request: ProxiedRequest, view: InboundView): readonly Field[] {
  const { head } = request.exchange;
  const { edits } = head;
  const tls = view.clientCert !== null;
  const own: Field[] = [];
  if (tls) own.push(['x-forwarded-client-cert', head.clientCert]);
  if (!head.requestId) own.push(['x-request-id', request.record.requestId ?? '']);
  const fields: Field[] = [];
  let proto = false;
  for (const [name, value] of head.sentFields()) {
    if (edits?.removes(name) === true) continue;
    if (name === 'x-forwarded-proto') proto = tls;
    // Nobody vouches for a plaintext client's word on the scheme.
    if (plainName(name) !== 'x-forwarded-proto' || tls) fields.push([name, value]);
  }
  if (!proto) own.push(['x-forwarded-proto', tls ? 'https' : 'http']);
  return [...fields, ...(edits?.fields ?? []), ...own];
}
