/**
 * The kubelet's probes of the app, done on localhost in its place: it knows no mutual TLS, and the app's ports do not
 * take anything else under STRICT. Answers as Istio's agent gives them.
 */
import type { AppProbe, HttpProbe } from '../config/app-probes.ts';
import { connectPlain } from '../net/connect.ts';
import { checkGrpcHealth } from './grpc-health.ts';
import type { Answer, Handler, Question } from './routes.ts';

const APP_HOST = '127.0.0.1';
const MAX_BODY_BYTES = 10 * 1024; // what the kubelet keeps of an answer, for its event
const MAX_REDIRECTS = 10; // as the kubelet
const TEXT = 'text/plain; charset=utf-8';
/** Of the connection between kubelet and sidecar. */
const NOT_HANDED_ON = /^(?:host|connection|keep-alive|content-length|transfer-encoding|te|upgrade|expect)$/;

/** A route's handler that asks the app. */
export function appProbe(probe: AppProbe): Handler {
  return async question => {
    try {
      if (probe.kind === 'http') return await askHttp(probe, question);
      if (probe.kind === 'tcp') await connects(probe.port, probe.timeoutMs);
      else await checkGrpcHealth({ host: APP_HOST, ...probe });
      return { status: 200, type: TEXT, body: '' };
    } catch (error) {
      return { status: 500, type: TEXT, body: `${reasonOf(error)}\n` };
    }
  };
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'timeout';
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : (error.message.split('\n', 1)[0] ?? 'failed');
}

function connects(port: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    connectPlain({ host: APP_HOST, port, timeoutMs }, (why, { socket }) => {
      socket.on('error', () => {}); // it may be reset before it is closed
      socket.destroy();
      if (why === null) resolve();
      else reject(new Error(why));
    });
  });
}

/** The app's status and the beginning of its body. A redirect within the app is followed; one that leads out of it is a 200. */
async function askHttp(probe: HttpProbe & AppProbe, question: Question): Promise<Answer> {
  const { Agent } = (await import('undici')).default;
  // The app's certificate is for its clients, and the connection does not leave the machine.
  const dispatcher = new Agent({ allowH2: false, connect: { rejectUnauthorized: false } });
  try {
    const signal = AbortSignal.timeout(probe.timeoutMs);
    let url = new URL(`${probe.scheme}://${APP_HOST}:${probe.port}`);
    let target = probe.path; // as written: URL would tidy it up
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const headers = headersOf(probe, question);
      const { origin } = url;
      const response = await dispatcher.request({ origin, path: target, method: 'GET', headers, signal });
      const { statusCode, body } = response;
      const type = response.headers['content-type'];
      if (statusCode < 300 || statusCode >= 400) return answer(statusCode, await beginning(body), type);
      const next = locationOf(response.headers.location, url, target);
      if (next === null) return answer(200, await beginning(body), type);
      await body.dump();
      url = next;
      target = `${next.pathname}${next.search}`;
    }
    throw new Error(`more than ${MAX_REDIRECTS} redirects`);
  } finally {
    await dispatcher.destroy();
  }
}

/** Where a redirect leads; null when that is not the app. */
function locationOf(location: string | string[] | undefined, from: URL, target: string): URL | null {
  if (typeof location !== 'string') return null;
  const base = URL.parse(`${from.origin}${target}`) ?? from;
  const next = URL.parse(location, base);
  return next?.hostname === from.hostname && /^https?:$/.test(next.protocol) ? next : null;
}

function answer(status: number, body: string, type: string | string[] | undefined): Answer {
  return { status, type: typeof type === 'string' && /^[\x20-\x7e]+$/.test(type) ? type : TEXT, body };
}

/** The kubelet's own fields, and over them those of the probe; `Host` too. */
function headersOf(probe: HttpProbe, { headers }: Question): Record<string, string> {
  const all = new Map<string, readonly [string, string]>();
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === 'string' && !NOT_HANDED_ON.test(name)) all.set(name, [name, value]);
  }
  for (const { name, value } of probe.headers) {
    const lower = name.toLowerCase();
    if (lower === 'host' || !NOT_HANDED_ON.test(lower)) all.set(lower, [name, value]);
  }
  return Object.fromEntries(all.values());
}

async function beginning(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= MAX_BODY_BYTES) break; // the connection goes with the agent
  }
  return Buffer.concat(chunks).subarray(0, MAX_BODY_BYTES).toString('utf8');
}
