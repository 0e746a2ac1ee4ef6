/** Why a live request was denied: the lines that `explain` would print of it, up to what refused it. */
import type { RequestAttributes, VerifiedJwt } from './attributes.ts';
import {
  type ConnectionPolicy,
  customMatches,
  decideConnection,
  decideRequest,
  findingsOf,
} from './decide.ts';

/** What ended the request. */
export type RefusedBy =
  | {
      readonly by: 'authorizer';
      readonly provider: string;
      readonly policy: string;
      readonly rule: number;
      /** `answered 403`. */
      readonly said: string;
    }
  /** `body` as the client is told: `Jwt is expired`. */
  | { readonly by: 'token'; readonly body: string }
  | { readonly by: 'policy' };

/**
 * Every policy considered, in order, and what it saw. Asked of denied requests only: it decides once more, with a trace.
 * @param request as it was when it was refused, edits of a token's check made
 */
export function explainDenial(
  policy: ConnectionPolicy,
  request: RequestAttributes,
  refusal: RefusedBy,
): string[] {
  const lines: string[] = [];
  const asked = customMatches(policy, request, lines) ?? [];
  if (refusal.by === 'authorizer') {
    lines.push(authorizerLine(refusal, refusal.said));
    return lines;
  }
  const refused = asked.some(({ bad }) => bad !== null);
  if (refused) return lines;
  for (const match of asked) lines.push(authorizerLine(match, 'allowed the request'));
  if (refusal.by === 'token') {
    lines.push(tokenLine([], { refused: refusal.body }));
    return lines;
  }
  if (request.jwt !== null) lines.push(tokenLine([], request.jwt));
  findingsOf(policy, request, lines);
  decideRequest(policy, request, lines);
  return lines;
}

/** The same of a TCP connection. */
export function explainTcpDenial(policy: ConnectionPolicy): string[] {
  const lines: string[] = [];
  customMatches(policy, null, lines);
  findingsOf(policy, null, lines);
  decideConnection(policy, lines);
  return lines;
}

/** What an external authorizer said. */
export function authorizerLine(
  { provider, policy, rule }: { readonly provider: string; readonly policy: string; readonly rule: number },
  said: string,
): string {
  return `CUSTOM ${policy} rule ${rule}: provider ${provider} ${said}`;
}

const MOST_AUDIENCES = 4;

/**
 * What a request's token came to. Never the token itself.
 * @param policies the RequestAuthentications that checked it, `namespace/name`; [] = not known here
 * @param token null = there was none
 */
export function tokenLine(
  policies: readonly string[],
  token: VerifiedJwt | { readonly refused: string } | null,
): string {
  const name = ['RequestAuthentication', policies.join(', ')].filter(part => part !== '').join(' ');
  if (token === null) return `${name}: no token, and none is needed to pass here`;
  if ('refused' in token) return `${name}: the token is refused: ${token.refused}`;
  const { iss, sub, aud } = token.payload;
  const audiences = (Array.isArray(aud) ? aud : [aud]).filter(one => typeof one === 'string');
  const facts = [
    `issuer ${claimText(iss)}`,
    typeof sub === 'string' ? `subject ${claimText(sub)}` : 'no subject',
    ...(audiences.length === 0
      ? []
      : [`audience ${audiences.slice(0, MOST_AUDIENCES).map(claimText).join(', ')}`]),
  ];
  return `${name}: the token is accepted: ${facts.join(', ')}`;
}

const MOST_CHARACTERS = 256;

/** Whoever issued the token chose this text. */
function claimText(value: unknown): string {
  const text = typeof value === 'string' ? value : '(none)';
  const safe = text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '?');
  return safe.length > MOST_CHARACTERS ? `${safe.slice(0, MOST_CHARACTERS)}…` : safe;
}
