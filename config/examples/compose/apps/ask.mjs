// node ask.mjs METHOD PATH [HOST:PORT]: one request in plain HTTP to orders.shop, by the sidecar unless told otherwise.
import { request } from 'node:http';

const [method = 'GET', path = '/', at = '127.0.0.1:15001'] = process.argv.slice(2);
const [host, port] = at.split(':');
const asked = request({ host, port, method, path, headers: { host: 'orders.shop' } }, async response => {
  let body = '';
  for await (const chunk of response) body += chunk;
  console.log(`${response.statusCode} ${body.trim()}`);
});
asked.on('error', error => console.log(error.code)).end();
