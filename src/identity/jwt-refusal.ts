/** Why a token is refused, in the words of Envoy's jwt_authn filter. */

export interface Refusal {
  readonly status: 401 | 403;
  readonly body: string;
  /** Response code details: the words with `_` for spaces. */
  readonly details: string;
}

export function isRefusal(value: object): value is Refusal {
  return 'details' in value;
}

function refusal(body: string, status: 401 | 403 = 401): Refusal {
  return { status, body, details: `jwt_authn_access_denied{${body.replaceAll(' ', '_')}}` };
}

function ofField(field: string, fault: string): Refusal {
  return refusal(`Jwt payload [${field}] field is ${fault}`);
}

const NOT_A_STRING = 'not a string';

export const REFUSALS = {
  missing: refusal('Jwt is missing'),
  notYetValid: refusal('Jwt not yet valid'),
  expired: refusal('Jwt is expired'),
  format: refusal('Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'),
  headerBase64: refusal('Jwt header is an invalid Base64url encoded'),
  headerJson: refusal('Jwt header is an invalid JSON'),
  headerAlg: refusal('Jwt header [alg] field is required and must be a string'),
  headerAlgUnknown: refusal('Jwt header [alg] is not supported'),
  headerKid: refusal('Jwt header [kid] field is not a string'),
  payloadBase64: refusal('Jwt payload is an invalid Base64url encoded'),
  payloadJson: refusal('Jwt payload is an invalid JSON'),
  iss: ofField('iss', NOT_A_STRING),
  sub: ofField('sub', NOT_A_STRING),
  jti: ofField('jti', NOT_A_STRING),
  aud: ofField('aud', 'not a string or string list'),
  signatureBase64: refusal('Jwt signature is an invalid Base64url encoded'),
  ed25519Length: refusal('Jwt ED25519 signature is wrong length'),
  issuer: refusal('Jwt issuer is not configured'),
  audience: refusal('Audiences in Jwt are not allowed', 403),
  verification: refusal('Jwt verification fails'),
  noKeys: refusal("Jwks doesn't have any valid public key"),
  noMatchingKey: refusal("Jwks doesn't have key to match kid or alg from Jwt"),
  /** Outrider's own words: Envoy forwards the claim, finds that no header can carry it and answers 503. */
  claimHeader: refusal('Jwt claim is not a valid header value'),
} as const satisfies Record<string, Refusal>;

/** Refusals of the times, by claim. */
export const TIME_REFUSALS = {
  iat: timeRefusals('iat'),
  nbf: timeRefusals('nbf'),
  exp: timeRefusals('exp'),
} as const;

function timeRefusals(field: string): { readonly type: Refusal; readonly range: Refusal } {
  return {
    type: ofField(field, 'not an integer'),
    range: ofField(field, 'not a positive 64 bit integer'),
  };
}
