import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadManifests, type Manifests } from '../../src/config/manifest.ts';
import type { Fault } from '../../src/config/resources.ts';

/**
 * A manifest and what must be said of it. Every § marks where a fault must be reported (line and column of the next
 * character) and is removed before loading; `faults` are the starts of `severity message`, in the order of the marks.
 */
export interface Case {
  readonly title: string;
  readonly text: string;
  readonly faults?: readonly string[];
}

/** Text with § marks → the text without them, and their places. */
export function unmark(marked: string): { text: string; places: { line: number; column: number }[] } {
  const places: { line: number; column: number }[] = [];
  const lines = marked.split('\n').map((line, i) => {
    const parts = line.split('§');
    let column = 1;
    for (const part of parts.slice(0, -1)) {
      column += part.length;
      places.push({ line: i + 1, column });
    }
    return parts.join('');
  });
  return { text: lines.join('\n'), places };
}

/** Loads one text as a file of that name, in a folder of its own. */
export function loadText(text: string, name = 'manifest.yaml'): Manifests {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-config-'));
  try {
    writeFileSync(join(folder, name), text);
    return loadManifests([join(folder, name)]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function faultsOf(manifests: Manifests): readonly Fault[] {
  return manifests.ok ? manifests.warnings : manifests.faults;
}

/** Runs the cases of one table; `wrap` makes a whole document of a case's text. */
export function runCases(cases: readonly Case[], wrap: (text: string) => string, name?: string): void {
  for (const { title, text: marked, faults: expected = [] } of cases) {
    t.test(title, async t => {
      const { text, places } = unmark(wrap(marked));
      const result = loadText(text, name);
      const faults = [...faultsOf(result)].sort((a, b) => a.line - b.line || a.column - b.column);
      const said = faults.map(
        ({ line, column, severity, message }) => `${line}:${column} ${severity} ${message}`,
      );
      t.equal(places.length, expected.length, 'the case marks as many places as it expects faults');
      t.equal(said.length, expected.length, said.join('\n'));
      for (const [i, start] of expected.entries()) {
        const wanted = `${places[i]?.line}:${places[i]?.column} ${start}`;
        t.ok(said[i]?.startsWith(wanted), `${wanted} … is what is said: ${said[i]}`);
      }
      t.equal(
        result.ok,
        !expected.some(start => start.startsWith('error')),
        'an error refuses, a warning does not',
      );
    });
  }
}

/** Wraps a spec (as it stands after `spec:`, on one line or indented) into a document of that kind in namespace foo. */
export function resource(apiVersion: string, kind: string): (spec: string) => string {
  return spec =>
    `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: it, namespace: foo}\nspec: ${spec}\n`;
}

/**
 * What stands around a policy in namespace foo so that it is warned of for itself alone: a provider `x`, tokens that are
 * verified, and a policy that asks for them.
 */
export const AROUND = `---
{kind: MeshConfig, extensionProviders: [{name: x, envoyExtAuthzGrpc: {service: a.com, port: 1}}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: around, namespace: foo}
spec: {jwtRules: [{issuer: around}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: around, namespace: foo}
spec: {action: DENY, rules: [{from: [{source: {requestPrincipals: [around/x]}}], to: [{operation: {ports: ["1"]}}]}]}
`;
