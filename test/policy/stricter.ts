/**
 * Where Outrider refuses what Istio and Envoy let pass, on purpose: one entry each, with the reason, and with what tells
 * such a difference from a fault. `scripts/diff-istio.ts` excuses nothing else; docs/POLICY.md has the list as a table.
 */

/** A request that Istio and Envoy decided, and what Outrider said. Only the keys of `expect` were compared. */
export interface DecisionDifference {
  readonly request: {
    readonly protocol?: string;
    readonly transport?: string;
    readonly source?: { readonly principal?: string };
    readonly request?: {
      readonly path?: string;
      readonly host?: string;
      readonly headers?: Readonly<Record<string, readonly string[]>>;
    };
  };
  readonly expect: Verdict;
  readonly got: Verdict;
}

export interface Verdict {
  readonly decision?: string;
  readonly status?: number | null;
  readonly reason?: string;
  readonly path?: string;
}

export interface Stricter {
  readonly id: string;
  /** What Outrider does, in one line. */
  readonly what: string;
  /** What Istio and Envoy do, and why Outrider does not. */
  readonly why: string;
  /** Whether a difference is this one; null where the judge's requests cannot show it. */
  readonly excuses: ((difference: DecisionDifference) => boolean) | null;
}

export const STRICTER: readonly Stricter[] = [
  {
    id: 'unreadable-principal',
    what: 'A certificate whose URI is no SPIFFE ID (an empty segment, `%`, `+`, a query) is refused in the handshake.',
    why: 'Envoy compares whatever text stands there. Two readers of such a name can see two workloads in it.',
    excuses: ({ request, got }) =>
      got.decision === 'deny' && got.reason === 'bad_spiffe_id' && !isSpiffeId(request.source?.principal),
  },
  {
    id: 'one-spiffe-id',
    what: 'A certificate with several URIs, or none, is refused in the handshake.',
    why: 'Envoy tries each one against the policy, so one peer would be several principals.',
    excuses: null,
  },
  {
    id: 'host-port',
    what: 'A `Host` whose port is empty or no number, such as `a.com:` or `a.com:http`, is 400.',
    why: 'Envoy passes it on. A `hosts` rule and the app may disagree about which host that is.',
    excuses: ({ request, got }) =>
      got.status === 400 &&
      got.reason === 'bad_request: invalid Host' &&
      /^[^:]+:\D*$/.test(request.request?.host ?? ''),
  },
  {
    id: 'dot-segments-with-parameters',
    what: 'A segment `..;x` or `.;x` that comes out of percent-decoding is resolved like `..` and `.`.',
    why: 'Envoy resolves it where it is written so, but leaves the one it decoded itself (`%2e%2e;`). Java servers resolve that one, behind the policy’s back.',
    excuses: ({ request, expect, got }) =>
      /%2e/i.test(request.request?.path ?? '') &&
      DOT_SEGMENT_WITH_PARAMETER.test(expect.path ?? '') &&
      got.path !== undefined &&
      !DOT_SEGMENT_WITH_PARAMETER.test(got.path),
  },
  {
    id: 'malformed-request',
    what: 'A request that two servers could read differently is 400: two lengths, a length beside chunked, a bare CR or LF, a folded or misspelt field.',
    why: 'Envoy mends some of them on the way.',
    excuses: null,
  },
  {
    id: 'malformed-http2-request',
    what: 'HTTP/2 is taken as RFC 9113 8.2 and 8.3 have it: white space around a value, a path that does not begin with `/`, or an `:authority` that is none, is 400.',
    why: 'Envoy lets some of them pass; HTTP/1.1 behind it would read another request.',
    excuses: ({ request, got }) =>
      (request.protocol === 'http2' || request.protocol === 'grpc') && got.status === 400,
  },
  {
    id: 'unwritten-mode-passes-no-tls',
    what: 'Where no PeerAuthentication sets a mode, plaintext is let in as in PERMISSIVE, and all TLS is mutual TLS: a client that is no sidecar must prove who it is.',
    why: 'Istio passes such TLS to the app as bytes, or closes it on an HTTP port. Bytes of nobody go past the sidecar only where somebody wrote `PERMISSIVE`; and curl with a certificate works at once.',
    excuses: null,
  },
  {
    id: 'half-a-hello',
    what: 'A connection that begins with half a ClientHello is closed when the time for detection is over.',
    why: 'Istio waits for ever by default.',
    excuses: null,
  },
  {
    id: 'other-pseudo-headers',
    what: '`request.headers[:scheme]` and other pseudo headers but `:authority`, `:method` and `:path` are not decided on: an ALLOW rule with one never matches, any other is asked without it.',
    why: 'HTTP/1.1 has no such field; what Envoy puts there is its own guess. HTTP/2 may say `:scheme`, which nobody checks.',
    excuses: null,
  },
  {
    id: 'undeclared-ports-look-inside',
    what: 'On a port whose protocol nobody declared, where a mesh peer’s ClientHello says TCP, a request inside must be allowed as TCP and as a request.',
    why: 'Istio takes the ClientHello’s word, so that a peer chooses whether tokens, external authorizers and the app’s `x-forwarded-client-cert` hold.',
    excuses: null,
  },
  {
    id: 'late-request-line',
    what: 'On a port whose protocol nobody declared, a request line that shows up on a connection that was taken for TCP ends it.',
    why: 'In Istio a slow client becomes TCP once the detection times out, and its requests go past the rules for requests.',
    excuses: null,
  },
  {
    id: 'tcp-before-the-first-byte',
    what: 'A TCP connection that policy denies is closed before the app hears of it.',
    why: 'Envoy decides at the client’s first byte, when an app that speaks first has already said its greeting.',
    excuses: null,
  },
  {
    id: 'open-connections',
    what: 'A new configuration closes open connections that it would not let in: plaintext on a port that became STRICT, peers of a trust domain that is no longer accepted, TCP that is now denied.',
    why: 'Envoy drains the listener and lets them live on for some time.',
    excuses: null,
  },
  {
    id: 'key-sets-from-where-they-are-written',
    what: 'A redirect from a `jwksUri` is a failure, and so are more than 1 MiB and an issuer on https that names keys on http.',
    why: 'istiod follows. Nobody but who is written in the manifest should say where keys come from.',
    excuses: null,
  },
  {
    id: 'tokens-of-the-key',
    what: 'A token whose `alg` is not one of the key’s type and curve, with `crit`, or for an RSA key under 2048 bits, is 401, and so is one whose sections are no strict JSON.',
    why: 'Envoy goes by the `alg` of the token in more cases, and does not know `crit`. Two readers of such a token may read two.',
    excuses: null,
  },
  {
    id: 'claims-that-no-header-carries',
    what: 'A token with a line break or the like in a claim of `outputClaimToHeaders` is 401.',
    why: 'Envoy accepts it, and then fails to forward the request: 503.',
    excuses: null,
  },
  {
    id: 'nothing-behind-the-authorizer',
    what: 'A request that CUSTOM concerns is asked about whole: with its body though it has an `Upgrade`, and a CONNECT is refused where the authorizer speaks HTTP, whatever `failOpen` says. No trailer is sent on that an authorizer or a token could have written as a field; where a gRPC authorizer is asked, that is any.',
    why: 'Envoy leaves the body of a WebSocket upgrade out of the check and sends trailers on, so that a client chooses what the authorizer is shown.',
    excuses: null,
  },
  {
    id: 'what-an-authorizer-may-write',
    what: 'The answer of an external authorizer cannot write what frames or routes a message or vouches for somebody: `host`, `content-length`, `x-forwarded-client-cert` and their like.',
    why: 'Envoy lets it write most of them. It is asked whether a request may pass, not who sent it.',
    excuses: null,
  },
  {
    id: 'own-client-cert-header',
    what: '`x-forwarded-client-cert` from the client is replaced, on plaintext too. Policy and app see Outrider’s own.',
    why: 'Istio keeps what a mesh peer sent and appends to it, so that a caller writes the first element. `APPEND_FORWARD` in the mesh config is Istio’s way.',
    excuses: null,
  },
  {
    id: 'mesh-services-by-mutual-tls',
    what: 'Calls to a `MESH_INTERNAL` service go by mutual TLS, unless a DestinationRule, the mesh config or the endpoint says otherwise.',
    why: 'Istio wants a label on the endpoint for that; without it, plaintext is the silent default.',
    excuses: null,
  },
  {
    id: 'one-fault-refuses-all',
    what: 'One invalid resource refuses the whole configuration: at start `run` ends, later the last good one stays.',
    why: 'Istio’s API server refuses resources one by one; a folder that is half in force is a policy that nobody wrote.',
    excuses: null,
  },
];

const DOT_SEGMENT_WITH_PARAMETER = /(?:^|\/)\.{1,2};[^/]*(?:\/|$)/;

/** SPIFFE-ID 2: a lower-case trust domain, then segments of letters, digits, `.`, `-`, `_`; none empty, `.` or `..`. */
function isSpiffeId(principal = ''): boolean {
  return /^spiffe:\/\/[a-z0-9._-]+(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)+$/.test(principal);
}

/** The entry that a difference is, or null: then it is a fault. What Outrider allows and Istio denies never is one. */
export function stricterBehaviour(difference: DecisionDifference): Stricter | null {
  if (difference.expect.decision === 'deny' && difference.got.decision !== 'deny') return null;
  return STRICTER.find(({ excuses }) => excuses?.(difference)) ?? null;
}
