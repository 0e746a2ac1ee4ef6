/** After the story: what the sidecars decide and reload, a line each, as it happens. */
import type { AccessLogFields } from '../telemetry/access-log.ts';
import type { Mesh } from './demo-mesh.ts';
import type { Paper } from './demo-paper.ts';
import type { DemoSidecar, LogLine } from './demo-sidecar.ts';

/** Prints from now on. All sidecars read the same policy, so only orders speaks of reloading it. */
export function follow(paper: Paper, { frontend, orders, intruder }: Mesh): void {
  for (const sidecar of [frontend, orders, intruder]) {
    sidecar.accessLog.onLine = line => showRequest(paper, sidecar, line);
    sidecar.log.onLine = line => {
      if (sidecar === orders || line.msg.startsWith('certificates')) showLog(paper, sidecar, line);
    };
  }
}

/** The server's side of every request; of the client's only what never reached a server. */
function showRequest(paper: Paper, { name }: DemoSidecar, line: AccessLogFields): void {
  if (line.direction === 'outbound' && line.response_flags === '-') return;
  const status = line.method === null ? 'closed' : String(line.response_code);
  const from = line.source_principal ?? 'nobody';
  const what = line.method === null ? 'connection' : `${line.method} ${line.path}`;
  const details = line.upstream_transport_failure_reason ?? line.response_code_details ?? '';
  paper.row(
    name,
    ` ${what} from ${from}: ${verdict(line)}${details}`,
    status,
    status === '200' ? 'good' : 'bad',
  );
}

function showLog(paper: Paper, { name }: DemoSidecar, line: LogLine): void {
  const { time: _time, level, msg, ...fields } = line;
  const said = Object.entries(fields).filter(([, value]) => value !== '');
  const words = said.map(([field, value]) => `${field}=${String(value)}`);
  paper.row(name, [msg, ...words].join(' '), '', level === 'info' ? 'plain' : 'bad');
}

function verdict({ policy_decision: decision, policy, policy_rule: rule }: AccessLogFields): string {
  if (policy === null) return '';
  return rule === null ? `no rule of ${policy} allows it, ` : `${decision} by ${policy} rule ${rule}, `;
}
