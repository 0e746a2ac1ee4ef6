/**
 * The examples that want tokens, made ready: nobody can sign for the key sets in config/examples, so a copy of the folder
 * gets a key set of its own, and tokens for its requests. As a command:
 * `outrider explain --config "$(node scripts/example-tokens.ts config/examples/istio-tasks/authz-jwt)" …`
 */
import { createSign, generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** One line of an example's requests.jsonl; `@TOKEN@` in it stands for a token with the claims of `token`. */
export interface ExampleRequest {
  readonly id: string;
  readonly token?: Readonly<Record<string, unknown>>;
  readonly expect: Readonly<Record<string, unknown>>;
}

/** A key pair for one copy; the private half stays here. */
export class ExampleIssuer {
  readonly #key = generateKeyPairSync('rsa', { modulusLength: 2048 });

  /** The key set, as the text that `jwks` wants. */
  get jwks(): string {
    const key = { ...this.#key.publicKey.export({ format: 'jwk' }), kid: 'demo', alg: 'RS256', use: 'sig' };
    return JSON.stringify({ keys: [key] });
  }

  /** A signed token, valid for an hour unless the claims say when it expires. */
  token(claims: Readonly<Record<string, unknown>>): string {
    const exp = Math.floor(Date.now() / 1000) + 3600;
    const signed = [
      { alg: 'RS256', kid: 'demo', typ: 'JWT' },
      { exp, ...claims },
    ]
      .map(part => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    return `${signed}.${createSign('RSA-SHA256').update(signed).sign(this.#key.privateKey, 'base64url')}`;
  }
}

/**
 * Copies the YAML files and requests of an example, with the issuer's key set and tokens in place of what stands there.
 * The file `token` has the first one by itself.
 */
export function copyExample(from: string, to: string, issuer: ExampleIssuer): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    const text = readFileSync(join(from, name), 'utf8');
    const requests = name.endsWith('.jsonl');
    writeFileSync(join(to, name), requests ? withTokens(text, issuer) : withKeys(text, issuer));
    const first = requests ? WITH_TOKEN.exec(text) : null;
    if (first !== null) writeFileSync(join(to, 'token'), issuer.token(claimsOf(first[0])));
  }
}

const WITH_TOKEN = /^.*@TOKEN@.*$/m;

function claimsOf(line: string): NonNullable<ExampleRequest['token']> {
  return (JSON.parse(line) as ExampleRequest).token ?? {};
}

function withKeys(manifests: string, issuer: ExampleIssuer): string {
  return manifests.replace(/^( *(?:- )?jwks: ).*$/gm, (_, key) => `${key}'${issuer.jwks}'`);
}

function withTokens(requests: string, issuer: ExampleIssuer): string {
  const lines = requests.split('\n');
  return lines
    .map(line => (WITH_TOKEN.test(line) ? line.replaceAll('@TOKEN@', issuer.token(claimsOf(line))) : line))
    .join('\n');
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined) throw new Error('name the folder of an example');
  const to = mkdtempSync(join(tmpdir(), 'outrider-example-'));
  copyExample(folder, to, new ExampleIssuer());
  console.log(to);
}
