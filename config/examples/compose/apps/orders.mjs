// The app behind a sidecar: plain HTTP on localhost. It tells who asked, as its sidecar says.
import { createServer } from 'node:http';

createServer((request, response) => {
  const caller = /URI=([^;,]+)/.exec(request.headers['x-forwarded-client-cert'] ?? '')?.[1];
  response.end(`${request.method} ${request.url} for ${caller ?? 'nobody'}\n`);
}).listen(8080, '127.0.0.1');
