import type { IncomingHttpHeaders } from 'node:http';
import type { AppProbe } from '../config/app-probes.ts';
import { appProbe } from './app-probe.ts';
import type { AdminState } from './state.ts';

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  /** Done once the answer is written. */
  readonly afterwards?: () => void;
}

export interface Question {
  readonly query: URLSearchParams;
  /** '' unless it is a POST. */
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
}

export type Handler = (question: Question) => Answer | Promise<Answer>;

/** A path has one method. */
export interface Route {
  readonly method: 'GET' | 'POST';
  readonly handle: Handler;
}

export type Routes = ReadonlyMap<string, Route>;

const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';
const METRICS = 'text/plain; version=0.0.4; charset=utf-8';

const INDEX = `Outrider admin

GET  /ready                readiness; ?verbose for JSON (also /healthz/ready)
GET  /stats/prometheus     metrics of all workers
GET  /config_dump          configuration in force
GET  /certs                own certificate chain and trust bundle
GET  /connections          open connections
POST /explain              what policy decides for described requests, one JSON object a line
POST /logging?level=LEVEL  change the log level
POST /drain                start draining
POST /quitquitquit         drain and exit
`;

/** The admin listener (interface, section 3). */
export function adminRoutes(state: AdminState): Routes {
  return new Map<string, Route>([
    ['/', get(() => text(200, INDEX))],
    ['/ready', get(ready(state))],
    ['/healthz/ready', get(ready(state))],
    ['/stats/prometheus', get(metrics(state))],
    ['/config_dump', get(() => json(200, state.configDump()))],
    ['/certs', get(() => json(200, state.certs()))],
    ['/connections', get(async () => json(200, await state.connections()))],
    ['/explain', post(explain(state))],
    ['/logging', post(logging(state))],
    ['/drain', post(() => text(200, 'draining\n', () => state.drain()))],
    ['/quitquitquit', post(() => text(200, 'draining, then exit\n', () => state.quit()))],
  ]);
}

/** The health listener, which the whole network may reach: nothing but the probes. */
export function healthRoutes(state: AdminState): Routes {
  return new Map<string, Route>([
    ['/healthz/ready', get(ready(state))],
    ['/healthz/live', get(() => text(200, 'LIVE\n'))],
  ]);
}

/** The telemetry listener: the scrape, and the probes of the app that the kubelet makes through the sidecar. */
export function telemetryRoutes(state: AdminState, probes: ReadonlyMap<string, AppProbe>): Routes {
  const scrape = get(metrics(state));
  return new Map<string, Route>([
    ['/stats/prometheus', scrape],
    ['/metrics', scrape],
    ...Array.from(probes, ([path, probe]) => [path, get(appProbe(probe))] as const),
  ]);
}

function ready(state: AdminState): Handler {
  return ({ query }) => {
    const { ok, reason, detail } = state.ready();
    const status = ok ? 200 : 503;
    if (query.has('verbose')) return json(status, { ready: ok, reason: ok ? null : reason, ...detail });
    return text(status, ok ? 'LIVE\n' : `${reason}\n`);
  };
}

function metrics(state: AdminState): Handler {
  let running: Promise<string> | null = null; // scrapes at the same time share one page, however many ask
  return async () => {
    running ??= state.metrics().finally(() => {
      running = null;
    });
    return { status: 200, type: METRICS, body: await running };
  };
}

function explain(state: AdminState): Handler {
  return async ({ body }) => {
    const { status, lines } = await state.explain(body);
    return { status, type: JSON_TYPE, body: lines.map(line => `${line}\n`).join('') };
  };
}

function logging(state: AdminState): Handler {
  return ({ query }) => {
    const level = query.get('level');
    if (level === null) return text(400, 'say which level: /logging?level=debug\n');
    const fault = state.setLogLevel(level);
    return fault === null ? text(200, `level: ${level}\n`) : text(400, `${fault}\n`);
  };
}

function get(handle: Handler): Route {
  return { method: 'GET', handle };
}

function post(handle: Handler): Route {
  return { method: 'POST', handle };
}

function text(status: number, body: string, afterwards?: () => void): Answer {
  return afterwards === undefined ? { status, type: TEXT, body } : { status, type: TEXT, body, afterwards };
}

function json(status: number, value: unknown): Answer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(value, null, 2)}\n` };
}
