/** What runs while certificates rotate: HTTP and TCP, in and out, on kept connections, new ones and resumed ones. */
import { X509Certificate } from 'node:crypto';
import { setTimeout as pace } from 'node:timers/promises';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { IdentityPems } from './certificates.ts';
import { get, SIDECAR_TCP, type Wire, wirePlain, wireTls } from './peers.ts';

const PACE_MS = 5; // how dense the load is; nothing waits for it
const MAX_MISSES = 20; // a broken sidecar fails everything
const FOREVER = { teardown: (): void => {} }; // every loop closes its own connections

/** Which certificates a new connection may see now: those in force at some moment of its handshake. */
export class SerialsInForce {
  /** In the order in which they were written. */
  readonly #written: string[] = [];
  /** The newest that is in force everywhere. */
  #newest = 0;

  /** It may come into force from now on. */
  written(pems: IdentityPems): string {
    const serial = new X509Certificate(pems.certChainPem).serialNumber;
    this.#written.push(serial);
    return serial;
  }

  /** The last that was written is in force on every thread: those before it must not be seen again. */
  settled(): void {
    this.#newest = this.#written.length - 1;
  }

  /** To be called when a handshake begins; tells at its end whether it was right to see `serial`. */
  handshake(): (serial: string) => boolean {
    const oldest = this.#newest;
    return serial => this.#written.includes(serial, oldest);
  }
}

interface KeptSession {
  readonly session: Buffer;
  /** Of the certificate that it began with. */
  readonly serial: string;
}

interface Dialled {
  readonly wire: Wire<TLSSocket>;
  readonly serial: string;
}

/** Where the load goes. */
export interface LoadTargets {
  readonly serials: SerialsInForce;
  readonly client: IdentityPems;
  /** Ports of mutual TLS that lead to an HTTP app and to one that echoes. */
  readonly httpInbound: number;
  readonly tcpInbound: number;
  /** A plain port that leads on by host. */
  readonly outbound: number;
  /** Hosts behind it: an HTTP sidecar, one that answers with the serial that it was shown, `host:port` of the echo. */
  readonly hosts: { readonly http: string; readonly witness: string; readonly echo: string };
}

export class RotationLoad {
  /** Requests and connections that failed. */
  readonly failed: string[] = [];
  /** Certificates that were seen and must not have been. */
  readonly wrong: string[] = [];
  /** Serials that new connections saw. */
  readonly seen = new Set<string>();
  requests = 0;
  handshakes = 0;
  resumed = 0;
  readonly #to: LoadTargets;
  #over = false;
  readonly #loops: Promise<void>[];

  constructor(to: LoadTargets) {
    this.#to = to;
    this.#loops = [
      this.#run('a kept connection in', new KeptInbound(this, to)),
      this.#run('a new connection in', { turn: async () => void (await this.newInbound()) }),
      this.#run('a resumed connection in', new ResumedInbound(this, to)),
      this.#run('a kept connection out', new KeptOutbound(this, to)),
      this.#run('a new connection out', new WitnessedOutbound(this, to)),
      this.#run('a kept TCP connection in', new KeptTcp(this, () => this.dialTcp())),
      this.#run('a new TCP connection in', { turn: () => this.newTcp() }),
      this.#run('a kept TCP tunnel out', new KeptTcp(this, () => this.#tunnel())),
      this.#run('a new TCP tunnel out', { turn: () => this.#newTunnel() }),
    ];
  }

  /** Stops the load and waits for what is under way. */
  async end(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#loops);
  }

  /** One request on one new connection. @returns the serial that it saw */
  async newInbound(): Promise<string> {
    const { wire, serial } = await this.dial(this.#to.httpInbound);
    await this.ask(wire, get('/new'));
    wire.socket.destroy();
    return serial;
  }

  async newTcp(): Promise<void> {
    const wire = await this.dialTcp();
    await this.echo(wire);
    wire.socket.destroy();
  }

  /** A new connection whose certificate is the right one. @param resuming the session to offer */
  async dial(port: number, options: ConnectionOptions = {}, resuming?: KeptSession): Promise<Dialled> {
    const isRight = this.#to.serials.handshake();
    const maxVersion = this.handshakes % 4 === 3 ? 'TLSv1.2' : 'TLSv1.3';
    const wire = await wireTls(FOREVER, port, this.#to.client, {
      maxVersion,
      ...options,
      ...(resuming && { session: resuming.session }),
    });
    const resumed = wire.socket.isSessionReused();
    this.handshakes++;
    if (resumed) this.resumed++;
    // A resumed connection shows no certificate: it stands for the one that the session began with.
    const serial = resumed ? (resuming?.serial ?? 'none') : presented(wire.socket);
    this.saw(serial, isRight);
    return { wire, serial };
  }

  async dialTcp(): Promise<Wire> {
    return (await this.dial(this.#to.tcpInbound, { ALPNProtocols: SIDECAR_TCP })).wire;
  }

  saw(serial: string, isRight: (serial: string) => boolean): void {
    this.seen.add(serial);
    if (!isRight(serial)) this.wrong.push(serial);
  }

  /** Must be answered with 200. @returns whether the connection goes on */
  async ask(wire: Wire, request: string): Promise<boolean> {
    const reply = await wire.ask(request);
    this.requests++;
    if (reply.status !== 200) this.failed.push(`${reply.status} ${reply.body.slice(0, 200)}`);
    return reply.header('connection') !== 'close';
  }

  async echo(wire: Wire): Promise<void> {
    const text = `message ${this.requests++}\n`;
    const back = (await wire.send(text).take(text.length)).toString();
    if (back !== text) this.failed.push(`echo of ${JSON.stringify(text)} is ${JSON.stringify(back)}`);
  }

  async #tunnel(): Promise<Wire> {
    const wire = await wirePlain(FOREVER, this.#to.outbound);
    const reply = await wire.connect(this.#to.hosts.echo);
    if (reply.status !== 200) throw new Error(`no tunnel: ${reply.status} ${reply.body.slice(0, 200)}`);
    return wire;
  }

  async #newTunnel(): Promise<void> {
    const wire = await this.#tunnel();
    await this.echo(wire);
    wire.socket.destroy();
  }

  async #run(name: string, loop: { turn(): Promise<void>; close?(): void }): Promise<void> {
    while (!this.#over && this.failed.length < MAX_MISSES) {
      await loop.turn().catch((error: unknown) => {
        this.failed.push(`${name}: ${error instanceof Error ? error.message : error}`);
        loop.close?.();
      });
      await pace(PACE_MS);
    }
    loop.close?.();
  }
}

/** A client with one connection, made when it is needed. */
class Kept {
  protected readonly load: RotationLoad;
  readonly #open: () => Promise<Wire>;
  #wire: Wire | null = null;

  constructor(load: RotationLoad, open: () => Promise<Wire>) {
    this.load = load;
    this.#open = open;
  }

  protected async wire(): Promise<Wire> {
    this.#wire ??= await this.#open();
    return this.#wire;
  }

  close(): void {
    this.#wire?.socket.destroy();
    this.#wire = null;
  }
}

/** Requests on one connection for as long as the sidecar keeps it. */
class KeptInbound extends Kept {
  constructor(load: RotationLoad, to: LoadTargets) {
    super(load, async () => (await load.dial(to.httpInbound)).wire);
  }

  async turn(): Promise<void> {
    if (!(await this.load.ask(await this.wire(), get('/kept')))) this.close();
  }
}

/** New connections that offer the session of the one before. */
class ResumedInbound {
  readonly #load: RotationLoad;
  readonly #to: LoadTargets;
  #kept: KeptSession | undefined;

  constructor(load: RotationLoad, to: LoadTargets) {
    this.#load = load;
    this.#to = to;
  }

  async turn(): Promise<void> {
    const { wire, serial } = await this.#load.dial(this.#to.httpInbound, {}, this.#kept);
    wire.socket.on('session', session => {
      this.#kept = { session, serial };
    });
    await this.#load.ask(wire, get('/resumed'));
    wire.socket.destroy();
  }
}

/** Requests that the sidecar sends to another sidecar. */
class KeptOutbound extends Kept {
  readonly #request: string;

  constructor(load: RotationLoad, to: LoadTargets) {
    super(load, () => wirePlain(FOREVER, to.outbound));
    this.#request = get('/out').replace('app.example', to.hosts.http);
  }

  async turn(): Promise<void> {
    if (!(await this.load.ask(await this.wire(), this.#request))) this.close();
  }
}

/** Requests for which the sidecar makes a new connection each, and the certificate that it shows there. */
class WitnessedOutbound extends Kept {
  readonly #to: LoadTargets;

  constructor(load: RotationLoad, to: LoadTargets) {
    super(load, () => wirePlain(FOREVER, to.outbound));
    this.#to = to;
  }

  async turn(): Promise<void> {
    const wire = await this.wire();
    const isRight = this.#to.serials.handshake();
    const reply = await wire.ask(get('/witness').replace('app.example', this.#to.hosts.witness));
    this.load.requests++;
    this.load.handshakes++;
    if (reply.status === 200) this.load.saw(reply.body, isRight);
    else this.load.failed.push(`${reply.status} ${reply.body.slice(0, 200)}`);
    if (reply.header('connection') === 'close') this.close();
  }
}

/** Bytes on one connection, which no rotation may end. */
class KeptTcp extends Kept {
  async turn(): Promise<void> {
    await this.load.echo(await this.wire());
  }
}

function presented(socket: TLSSocket): string {
  return socket.getPeerX509Certificate()?.serialNumber ?? 'none';
}
