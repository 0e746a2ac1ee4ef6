/** The demo's two apps: ordinary programs, written to the folder so that a person can read what they know (nothing). */

/** Tells its port to the demo over the process channel, and ends when the demo is gone. */
const SERVE = `
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
process.on('disconnect', () => process.exit());
`;

export const ORDERS_APP = `// An ordinary HTTP app. It knows nothing of TLS, certificates or policy: its sidecar does.
import { createServer } from 'node:http';

const server = createServer((request, response) => {
  response.setHeader('content-type', 'text/plain');
  response.write(request.method + ' ' + request.url + ' is done\\n');
  // Who called, as the sidecar proved it; what a client claims in this header never gets here.
  response.end('x-forwarded-client-cert: ' + request.headers['x-forwarded-client-cert'] + '\\n');
});
${SERVE}`;

export const FRONTEND_APP = `// An ordinary HTTP app that calls another one: plain HTTP to its own sidecar, which does the rest.
import { createServer, get } from 'node:http';

let sidecar = null; // its outbound port
process.on('message', message => {
  sidecar = message.outbound;
});

const server = createServer((request, response) => {
  const call = {
    host: '127.0.0.1',
    port: sidecar,
    path: '/orders' + request.url,
    headers: { host: 'orders.shop.svc.cluster.local' },
  };
  get(call, answer => {
    response.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] ?? 'text/plain' });
    answer.pipe(response);
  }).on('error', error => response.writeHead(502).end(error.message + '\\n'));
});
${SERVE}`;
