/**
 * Case files: Istio manifests, then one document of tables that read as the rule's manual. A line is
 *   `METHOD PATH [by IDENTITY] [from IP] [to PORT] [host HOST] [with NAME: VALUE]… => allow|deny [NS/NAME#RULE|REASON]`
 * or `TCP [by …] [from …] [to …] => …`. Without `by` the connection is plaintext. Defaults: 10.0.0.9, port 8080, host a.com.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { loadManifests } from '../../src/config/manifest.ts';
import type { Resources } from '../../src/config/resources.ts';

export interface Table {
  readonly says: string;
  readonly workload: { readonly namespace: string; readonly labels: Record<string, string> };
  readonly cases: readonly string[];
}

export interface CaseFile {
  readonly resources: Resources;
  readonly tables: readonly Table[];
}

/** Reads a case file; its manifests go through the loader that `run` uses. */
export function readCaseFile(file: string, scratch: string): CaseFile {
  const documents = parseAllDocuments(readFileSync(file, 'utf8'));
  const last = documents.pop()!.toJS() as { workload?: Table['workload']; tables: Table[] };
  const manifests = join(scratch, 'manifests.yaml');
  writeFileSync(manifests, documents.map(document => document.toString()).join('---\n'));
  const loaded = loadManifests([manifests]);
  if (!loaded.ok) throw new Error(loaded.faults.map(fault => `${file}: ${fault.message}`).join('\n'));
  const workload = { namespace: 'foo', labels: {}, ...last.workload };
  return {
    resources: loaded.resources,
    tables: last.tables.map(table => ({ ...table, workload: { ...workload, ...table.workload } })),
  };
}

const LINE =
  /^(?:TCP|(?<method>\S+) (?<path>\S+))(?: by (?<by>\S+))?(?: from (?<from>\S+))?(?: to (?<to>\d+))?(?: host (?<host>\S*))?(?<headers>(?: with [^:\s]+:(?: .*?)?)*) => (?<decision>allow|deny)(?: (?<why>\S+))?$/;

export interface Case {
  /** In the format of `outrider explain`. */
  readonly request: object;
  readonly decision: 'allow' | 'deny';
  /** `ns/name#rule`, `none`, or a reason; absent = not compared. */
  readonly why: string | undefined;
}

export function readCase(line: string): Case {
  const found = LINE.exec(line)?.groups;
  if (found === undefined) throw new Error(`not a case: ${line}`);
  const headers: Record<string, string[]> = {};
  for (const [, name, value] of (found.headers ?? '').matchAll(/ with ([^:\s]+):(?: (.*?))?(?= with |$)/g)) {
    headers[name!] = [...(headers[name!] ?? []), value ?? ''];
  }
  const request = {
    protocol: found.method === undefined ? 'tcp' : 'http',
    source: { ip: found.from ?? '10.0.0.9', ...(found.by && { principal: `spiffe://${found.by}` }) },
    destination: { ip: '10.1.0.1', port: Number(found.to ?? 8080) },
    request: { method: found.method, path: found.path, host: found.host ?? 'a.com', headers },
  };
  return { request, decision: found.decision as Case['decision'], why: found.why };
}
