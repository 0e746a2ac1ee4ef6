/** One HTTP/2 request by Node's own client, for the check before measuring. */
import { connect, type IncomingHttpHeaders } from 'node:http2';
import { connect as connectPlain } from 'node:net';
import { connect as connectTls, type SecureContext } from 'node:tls';
import { SERVICE_HOST } from './workload.ts';

const TIMEOUT_MS = 5_000;

export type Http2Answer =
  | {
      readonly answered: true;
      readonly status: number;
      readonly body: string;
      readonly trailers: IncomingHttpHeaders;
    }
  | { readonly answered: false; readonly reason: string };

/** GET with `te: trailers` to a port on 127.0.0.1; `context` null = cleartext. Never rejects: a refusal is an answer too. */
export function askHttp2(port: number, context: SecureContext | null): Promise<Http2Answer> {
  return new Promise(resolve => {
    const to = { host: '127.0.0.1', port };
    const tls = { ...to, servername: SERVICE_HOST, checkServerIdentity: () => undefined };
    const session = connect(`${context ? 'https' : 'http'}://${SERVICE_HOST}`, {
      createConnection: () =>
        context ? connectTls({ ...tls, secureContext: context, ALPNProtocols: ['h2'] }) : connectPlain(to),
    });
    const finish = (answer: Http2Answer) => {
      clearTimeout(timer);
      session.destroy();
      resolve(answer);
    };
    const refused = (reason: string) => finish({ answered: false, reason });
    const timer = setTimeout(() => refused(`no answer in ${TIMEOUT_MS} ms`), TIMEOUT_MS);
    session.on('error', error => refused(error.message));
    session.on('close', () => refused('closed without an answer'));
    const stream = session.request({ ':authority': SERVICE_HOST, ':path': '/head', te: 'trailers' });
    let status = 0;
    let body = '';
    let trailers: IncomingHttpHeaders = {};
    stream.setEncoding('utf8');
    stream.on('response', headers => {
      status = headers[':status'] ?? 0;
    });
    stream.on('data', chunk => {
      body += chunk;
    });
    stream.on('trailers', fields => {
      trailers = fields;
    });
    stream.on('error', error => refused(error.message));
    stream.on('end', () => finish({ answered: true, status, body, trailers }));
  });
}
