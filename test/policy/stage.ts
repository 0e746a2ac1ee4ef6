/** A real sidecar that plays cases: its app, the clients, and the authorizers that it asks. */
import type { Test } from 'tap';
import type { AccessLogFields } from '../../src/telemetry/access-log.ts';
import { type IdentityPems, temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import {
  answerWithRequest,
  dialTls,
  SIDECAR_HTTP,
  SIDECAR_TCP,
  startApp,
  startTcpApp,
  type Wire,
  wirePlain,
} from '../peers.ts';
import { startAuthorizer } from '../proxy/authorizer.ts';
import { OK, startGrpcAuthorizer } from '../proxy/grpc-authorizer.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import type { DescribedRequest } from './case-file.ts';
import { type Act, manifestsOn, type Provider, type Role } from './loopback.ts';

const DENIED = { status: { code: 7 } }; // google.rpc.Code PERMISSION_DENIED

const authority = await testAuthority();
const identities = new Map<string, Promise<IdentityPems>>();

/** Each SPIFFE ID gets one certificate, of one root. */
function identityOf(spiffeId: string): Promise<IdentityPems> {
  const known = identities.get(spiffeId) ?? testIdentity(authority, spiffeId);
  identities.set(spiffeId, known);
  return known;
}

/** What became of one request or connection. */
export interface Outcome {
  /** The app got it. */
  readonly reached: boolean;
  /** null = no HTTP answer came. */
  readonly status: number | null;
  /** Providers that were asked. */
  readonly asked: readonly string[];
  readonly log: AccessLogFields;
}

interface App {
  readonly port: number;
  readonly received: () => number;
}

export class Stage {
  readonly #t: Test;
  readonly #app: App;
  readonly #sidecar: Sidecar;
  #manifests = '';
  #asked: string[] = [];
  #answer = 'allow';

  private constructor(t: Test, app: App, sidecar: Sidecar) {
    this.#t = t;
    this.#app = app;
    this.#sidecar = sidecar;
  }

  static async open(t: Test, { workload, protocol, trustDomain }: Role): Promise<Stage> {
    const app = protocol === 'http' ? await countingApp(t) : await takingApp(t);
    const labels = Object.entries(workload.labels).map(([key, value]) => `${key}=${value}`);
    const sidecar = await startSidecar(t, {
      certs: temporaryIdentity(t, await identityOf(`spiffe://${trustDomain}/ns/any/sa/app`)),
      app: app.port,
      manifests: JSON.stringify({ kind: 'MeshConfig', trustDomain }),
      flags: [
        ...['--inbound', '0.0.0.0:0', '--namespace', workload.namespace],
        ...['--protocol', `${app.port}=${protocol}`],
        ...(labels.length > 0 ? ['--labels', labels.join()] : []),
      ],
    });
    return new Stage(t, app, sidecar);
  }

  /** From now on the sidecar decides by these manifests. */
  async set(act: Act): Promise<void> {
    const manifests = await manifestsOn(this.#app.port, act, provider => this.#startProvider(provider));
    if (manifests !== this.#manifests) await this.#sidecar.configure(manifests);
    this.#manifests = manifests;
  }

  async #startProvider({ name, kind }: Provider): Promise<number> {
    const allows = (): boolean => {
      this.#asked.push(name);
      return this.#answer === 'allow';
    };
    const { port } =
      kind === 'envoyExtAuthzGrpc'
        ? await startGrpcAuthorizer(this.#t, () => (allows() ? OK : DENIED))
        : await startAuthorizer(this.#t, (_, response) => response.writeHead(allows() ? 200 : 403).end());
    return port;
  }

  /** Sends what is described and waits for its end and for its line in the access log. */
  async play(request: DescribedRequest): Promise<Outcome> {
    this.#asked = [];
    this.#answer = request.custom ?? 'allow';
    const before = this.#app.received();
    const wire = await this.#connect(request);
    const status = request.protocol === 'tcp' ? await sendBytes(wire) : await sendRequest(wire, request);
    wire.socket.destroy();
    const client = `${request.source.ip}:${wire.localPort}`;
    const log = await this.#sidecar.access.take(line => line.downstream_remote_address === client);
    return { reached: this.#app.received() > before, status, asked: this.#asked, log };
  }

  async #connect({ protocol, source, destination, sni }: DescribedRequest): Promise<Wire> {
    const where = { host: destination.ip, localAddress: source.ip };
    const port = this.#sidecar.ports.inbound;
    if (source.principal === undefined) return wirePlain(this.#t, port, where);
    return dialTls(this.#t, port, await identityOf(source.principal), {
      ...where,
      ALPNProtocols: protocol === 'tcp' ? SIDECAR_TCP : SIDECAR_HTTP,
      ...(sni !== undefined && { servername: sni }),
    });
  }
}

async function countingApp(t: Test): Promise<App> {
  let requests = 0;
  const { port } = await startApp(t, (received, response) => {
    requests++;
    answerWithRequest(received, response);
  });
  return { port, received: () => requests };
}

/** Takes the first bytes and ends. */
async function takingApp(t: Test): Promise<App> {
  const { port, connections } = await startTcpApp(t, socket => socket.once('data', () => socket.end()));
  return { port, received: connections };
}

async function sendBytes(wire: Wire): Promise<null> {
  await wire.send('PING\n').rest();
  return null;
}

async function sendRequest(wire: Wire, { request }: DescribedRequest): Promise<number | null> {
  const { method, path, host, headers } = request;
  let head = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n`;
  for (const [name, values] of Object.entries(headers)) {
    for (const value of values) head += `${name}: ${value}\r\n`;
  }
  const reply = await wire
    .send(`${head}\r\n`)
    .reply({ bodiless: method === 'HEAD' })
    .catch(() => null); // closed
  return reply === null ? null : reply.status;
}
