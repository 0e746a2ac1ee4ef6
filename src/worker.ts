/**
 * One data-plane thread: binds the ports with reusePort, decides on its own copy of the configuration, hands over
 * counts when asked. It outlives every connection: what a peer sends ends at the most that peer's connection.
 */
import type { Socket } from 'node:net';
import { parentPort } from 'node:worker_threads';
import { BelievedChains } from './identity/believed-chains.ts';
import type { IdentityGeneration } from './identity/svid.ts';
import type { Trust } from './identity/trust.ts';
import type { Address, FromWorker, HandedOver, ToWorker, WorkerStart } from './messages.ts';
import { ClientSource } from './net/client-source.ts';
import { CoarseClock } from './net/clock.ts';
import type { Listener, ListenOptions } from './net/listen.ts';
import { listen } from './net/listen.ts';
import { type OriginalDst, originalDst, WITHOUT_FFI } from './net/original-dst.ts';
import { watchOwnConnections } from './net/own-connections.ts';
import { complyEverywhere } from './net/tls-defaults.ts';
import { Authorizers } from './proxy/authorizers.ts';
import { Clusters } from './proxy/clusters.ts';
import { Connections } from './proxy/connections.ts';
import type { EgressPort } from './proxy/egress.ts';
import { Inbound } from './proxy/inbound.ts';
import { meshTls } from './proxy/mesh-tls.ts';
import { Outbound } from './proxy/outbound.ts';
import { Revalidation } from './proxy/revalidation.ts';
import { compileSnapshot, type Snapshot, withKeySets } from './proxy/snapshot.ts';
import { trustOf } from './proxy/trust.ts';
import { UpstreamTlsDoor } from './proxy/upstream-tls.ts';
import { LineSink } from './telemetry/line-sink.ts';
import { log, setLogLevel } from './telemetry/log.ts';
import { Recorder } from './telemetry/recorder.ts';
import type { Tracer } from './telemetry/trace.ts';
import { workloadFacts } from './telemetry/workload.ts';

const SWEEP_MS = 1_000; // idle upstream connections are closed at most this late
const PROGRESS_MS = 5_000; // Istio's tcpReportingDuration: how often a long TCP connection counts its bytes
const CONNECT_TIMEOUT_MS = 10_000; // Istio's connectTimeout default
const MAX_CONNECTION_ROWS = 10_000;
const STANDARD_OUTPUT = 1;
/** Beside which address of IPv4 which one of IPv6 is listened on. */
const TWINS: Readonly<Record<string, string>> = { '0.0.0.0': '::', '127.0.0.1': '::1' };

/** The data plane of one thread. */
class DataPlane {
  #snapshot: Snapshot;
  #identity: IdentityGeneration;
  #trust: Trust;
  #clock = new CoarseClock();
  #inboundConnections = new Connections();
  #outboundConnections = new Connections();
  #recorder: Recorder;
  #sink: LineSink;
  #revalidation: Revalidation;
  #tls: UpstreamTlsDoor;
  #clusters: Clusters;
  #authorizers: Authorizers;
  #inbound: Inbound;
  #outbound: Outbound;
  #inboundListener: Listener | null = null;
  #outboundListener: Listener | null = null;
  /**
   * The same ports on the other family's addresses, where connections are captured: the kernel leads both here. Or further
   * sockets that were handed over.
   */
  #inboundTwins: readonly Listener[] = [];
  #outboundTwins: readonly Listener[] = [];
  /** Null where HBONE is not served. */
  #hboneListener: Listener | null = null;
  #egress = new Map<string, Listener>();
  /** The sides that have drained; lines and spans are written until both have. */
  #drained = new Set<boolean>();
  #tracer: Tracer | null = null;
  #tracingKey = '';
  #start: WorkerStart;
  #sweep: NodeJS.Timeout;

  constructor(start: WorkerStart) {
    const { settings, identity } = start;
    this.#start = start;
    this.#snapshot = compileSnapshot(start.resources, start.workload, start.generation, start.keySets);
    this.#identity = identity;
    this.#trust = trustOf(identity, this.#snapshot, this.#start.settings);
    this.#sink = new LineSink(STANDARD_OUTPUT);
    this.#recorder = new Recorder({
      workload: workloadFacts({
        name: null,
        namespace: start.workload.namespace,
        serviceAccount: start.workload.serviceAccount,
        labels: start.workload.labels,
        cluster: null,
        domain: 'cluster.local',
      }),
      accessLog: start.accessLog,
      writeLine: line => this.#sink.write(line),
      droppedLines: () => this.#sink.dropped,
      worker: start.id,
    });
    const clock = this.#clock;
    const recorder = this.#recorder;
    const original = this.#originalDst();
    this.#revalidation = new Revalidation({
      clock,
      graceMs: settings.revalidationGraceSeconds * 1_000,
      refusal: (peer, now) => this.#trust.refusal(peer, now),
      holds: (peer, now) => this.#trust.holds(peer, now),
      count: (direction, reason) => recorder.connectionEnds(direction, reason),
      report: fields => log.warn('open connections end', { ...fields, worker: start.id }),
    });
    const peers = this.#revalidation;
    const http = {
      headerTimeoutMs: settings.headerTimeoutMs,
      idleTimeoutMs: settings.idleTimeoutMs,
      responseTimeoutMs: settings.responseTimeoutMs,
    };
    this.#tls = new UpstreamTlsDoor(identity, this.#trust, {
      tls: () => meshTls(this.#snapshot, settings.compliancePolicy),
      compliancePolicy: settings.compliancePolicy,
      negotiated: facts => recorder.negotiated('outbound', facts),
    });
    this.#clusters = new Clusters(
      this.#snapshot,
      {
        clock,
        recorder,
        openTls: this.#tls.open,
        peers,
        warn: log.warn,
        baggage: baggageOf(start.workload),
        loops: socket => this.#loops(socket),
      },
      (host, port) => this.#isOwn(host, port),
    );
    this.#authorizers = new Authorizers(this.#snapshot, {
      clusters: this.#clusters,
      openTls: this.#tls.open,
      count: (provider, result) => recorder.authzAnswer(provider, result),
      warn: log.warn,
    });
    this.#inbound = new Inbound(this.#snapshot, identity, this.#trust, {
      settings: {
        app: settings.app,
        protocols: settings.protocols,
        http,
        handshakeTimeoutMs: settings.handshakeTimeoutMs,
        detectTimeoutMs: settings.detectTimeoutMs,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        tcpIdleTimeoutMs: settings.idleTimeoutMs,
        revalidationGraceMs: settings.revalidationGraceSeconds * 1_000,
        compliancePolicy: settings.compliancePolicy,
        logTls: settings.accessLogTls,
        denials: { explain: settings.explainDenials, tell: settings.dev },
      },
      sources: this.#clientSource(),
      authorizers: this.#authorizers,
      clock,
      recorder,
      connections: this.#inboundConnections,
      revalidation: this.#revalidation,
      tracer: () => this.#tracer,
      originalDst: original,
      isOwnPort: port => this.#isOwnPort(port),
      port: () => this.#inboundListener?.address.port ?? 0,
      warn: log.warn,
      sessions: { ticketSecret: start.ticketSecret, believed: new BelievedChains(start.believed) },
    });
    this.#outbound = new Outbound(this.#snapshot, identity, {
      http,
      tcpIdleTimeoutMs: settings.idleTimeoutMs,
      clock,
      recorder,
      connections: this.#outboundConnections,
      clusters: this.#clusters,
      peers,
      tracer: () => this.#tracer,
      originalDst: original,
      isOwnPort: port => this.#isOwnPort(port),
      detectTimeoutMs: settings.detectTimeoutMs,
      warn: log.warn,
    });
    this.#sweep = setInterval(() => {
      this.#inbound.sweep(clock.now);
      this.#clusters.sweep(clock.now);
    }, SWEEP_MS);
    this.#sweep.unref();
    setInterval(() => {
      for (const connection of this.#inboundConnections) connection.progress();
      for (const connection of this.#outboundConnections) connection.progress();
    }, PROGRESS_MS).unref();
  }

  /** Loaded only where connections may be captured: it costs a millisecond, koffi seven. */
  #originalDst(): OriginalDst | null {
    const { capture } = this.#start.settings;
    if (capture === null) return null;
    watchOwnConnections();
    const original = originalDst(capture);
    if (original === null && this.#start.id === 1) log.warn(WITHOUT_FFI, { capture });
    return original;
  }

  /** One line of the log for all threads is enough. */
  #clientSource(): ClientSource | null {
    if (this.#start.settings.capture !== 'tproxy') return null;
    return new ClientSource({ warn: this.#start.id === 1 ? log.warn : () => {} });
  }

  async bind(): Promise<void> {
    const { hbone } = this.#start;
    const transparent = this.#start.settings.capture === 'tproxy';
    await this.#startTracing();
    const accept = (raw: Socket): void => this.#inbound.accept(raw);
    [this.#inboundListener, ...this.#inboundTwins] = await this.#open('inbound', accept, { transparent });
    if (hbone !== null)
      this.#hboneListener = await this.#listen(hbone, 'hbone', raw => this.#inbound.acceptHbone(raw));
    const acceptOut = (raw: Socket): void => this.#outbound.accept(raw);
    [this.#outboundListener, ...this.#outboundTwins] = await this.#open('outbound', acceptOut);
    this.#refuseLoop();
    await this.#openEgress(this.#start.egress);
    tell({
      type: 'bound',
      inbound: this.#inboundListener.address,
      hbone: this.#hboneListener?.address ?? null,
      outbound: this.#outboundListener.address,
    });
  }

  /** The listeners of one side: what was handed over for it, else its address and the same of IPv6. */
  async #open(
    side: keyof HandedOver,
    onConnection: (raw: Socket) => void,
    options: Pick<ListenOptions, 'transparent'> = {},
  ): Promise<[Listener, ...Listener[]]> {
    const address = this.#start[side];
    const [descriptor, ...others] = this.#start.handedOver[side];
    if (descriptor === undefined) {
      const listener = await this.#listen(address, side, onConnection, options);
      const twin = await this.#listenTwin(listener, side, onConnection, options);
      return twin === null ? [listener] : [listener, twin];
    }
    const take = (descriptor: number): Promise<Listener> =>
      this.#listen(address, side, onConnection, { ...options, descriptor });
    return [await take(descriptor), ...(await Promise.all(others.map(take)))];
  }

  /** As the flags do; of a socket that was handed over they do not know the port. */
  #refuseLoop(): void {
    const { app } = this.#start.settings;
    if (app === null || this.#start.handedOver.inbound.length === 0 || !this.#isOwn(app.host, app.port))
      return;
    throw new Error(
      `--app ${app.port} is Outrider's own port, by a socket that was handed over; give the app's`,
    );
  }

  #listen(
    address: Address,
    name: string,
    onConnection: (raw: Socket) => void,
    options: Pick<ListenOptions, 'transparent' | 'ipv6Only' | 'descriptor'> = {},
  ): Promise<Listener> {
    return listen({
      ...address,
      ...options,
      reusePort: true,
      maxConnections: this.#start.settings.connectionLimit,
      onConnection,
      onOverflow: () => this.#recorder.upstreamConnect('inbound', 'connection_limit'),
      onFault: error => log.error('accept failed', { listener: name, reason: error.message }),
    });
  }

  /** A machine without IPv6 has none, and one whose port is taken goes on without. */
  async #listenTwin(
    { address }: Listener,
    name: string,
    onConnection: (raw: Socket) => void,
    options: Pick<ListenOptions, 'transparent'> = {},
  ): Promise<Listener | null> {
    const host = TWINS[address.host];
    if (this.#start.settings.capture === null || host === undefined) return null;
    try {
      const twin = { host, port: address.port };
      return await this.#listen(twin, name, onConnection, { ...options, ipv6Only: true });
    } catch (error) {
      log.debug('no listener for IPv6', { listener: name, reason: String(error) });
      return null;
    }
  }

  /** Opens and closes Sidecar egress listeners until they are what the configuration says. */
  async #openEgress(wanted: readonly EgressPort[]): Promise<void> {
    const keys = new Map(
      wanted.map(port => [`${port.listen.host}:${port.listen.port}>${port.host}:${port.port}`, port]),
    );
    for (const [key, listener] of this.#egress) {
      if (keys.has(key)) continue;
      this.#egress.delete(key);
      void listener.close();
    }
    for (const [key, port] of keys) {
      if (this.#egress.has(key)) continue;
      this.#egress.set(
        key,
        await this.#listen(port.listen, 'egress', raw => this.#outbound.acceptTcp(raw, port.host, port.port)),
      );
    }
  }

  #isOwnPort(port: number): boolean {
    return this.#start.ownPorts.includes(port) || this.#listensOn(port);
  }

  #listensOn(port: number): boolean {
    const own = [
      this.#inboundListener,
      ...this.#inboundTwins,
      this.#hboneListener,
      this.#outboundListener,
      ...this.#outboundTwins,
      ...this.#egress.values(),
    ];
    return own.some(listener => listener?.address.port === port);
  }

  #isOwn(host: string, port: number): boolean {
    if (!this.#listensOn(port)) return false;
    return host === 'localhost' || host.startsWith('127.') || host === '::1' || host === '0.0.0.0';
  }

  /** By the addresses that a connection has: a name, `127.1` or a mapped address may lead home as well. */
  #loops({ remoteAddress = '', localAddress, remotePort }: Socket): boolean {
    const own = [this.#outboundListener, ...this.#outboundTwins, ...this.#egress.values()];
    if (!own.some(listener => listener?.address.port === remotePort)) return false;
    return remoteAddress === localAddress || /^(?:::ffff:)?127\.|^::1$/.test(remoteAddress);
  }

  async configure(message: ToWorker & { type: 'config' }): Promise<void> {
    const { resources, workload, generation, keySets } = message;
    this.#snapshot = compileSnapshot(resources, workload, generation, keySets);
    this.#trust = trustOf(this.#identity, this.#snapshot, this.#start.settings);
    this.#recorder.setAccessLog(message.accessLog);
    this.#authorizers.replace(this.#snapshot);
    this.#inbound.replaceSnapshot(this.#snapshot, this.#trust);
    this.#outbound.replaceSnapshot(this.#snapshot);
    this.#tls.renew(this.#trust);
    this.#revalidation.configurationChanged(this.#inbound.policed());
    await this.#openEgress(message.egress);
    await this.#startTracing();
  }

  /** OpenTelemetry is loaded here and only when the mesh config asks for spans. */
  async #startTracing(): Promise<void> {
    const { tracing } = this.#snapshot.resources.mesh;
    const key = JSON.stringify(tracing);
    if (key === this.#tracingKey) return;
    this.#tracingKey = key;
    const before = this.#tracer;
    this.#tracer = null;
    await before?.shutdown();
    if (tracing === null) return;
    const { startTracing } = await import('./telemetry/trace.ts');
    const { workload } = this.#snapshot;
    this.#tracer = await startTracing(tracing, workload.serviceAccount || 'outrider');
  }

  /** Keys that were fetched anew: what tokens were found good by the old ones is forgotten. */
  replaceKeys(keySets: WorkerStart['keySets']): void {
    this.#snapshot = withKeySets(this.#snapshot, keySets);
    this.#inbound.replaceSnapshot(this.#snapshot, this.#trust);
  }

  identify(identity: IdentityGeneration): void {
    this.#identity = identity;
    this.#trust = trustOf(identity, this.#snapshot, this.#start.settings);
    this.#tls.replaceIdentity(identity, this.#trust);
    this.#inbound.replaceIdentity(identity, this.#trust);
    this.#authorizers.renew();
    this.#outbound.replaceIdentity(identity);
    this.#revalidation.identityChanged();
  }

  /** Stops accepting and finishes what is in flight; outbound only when the app is gone. */
  async drain(ms: number, outbound: boolean): Promise<void> {
    const side = outbound ? this.#outbound : this.#inbound;
    side.draining = true;
    const listeners = outbound
      ? [this.#outboundListener, ...this.#outboundTwins, ...this.#egress.values()]
      : [this.#inboundListener, ...this.#inboundTwins, this.#hboneListener];
    for (const listener of listeners) void listener?.close();
    await (outbound ? this.#outboundConnections : this.#inboundConnections).drain(ms);
    // An app that ends well waits for its connections: none is kept for a request that cannot come.
    if (!outbound) this.#inbound.close();
    this.#drained.add(outbound);
    if (this.#drained.size === 2) {
      await this.#tracer?.shutdown();
      await this.#sink.close();
    }
    tell({ type: 'drained', outbound });
  }

  answer(question: number, what: 'counts' | 'connections'): void {
    if (what === 'counts') tell({ type: 'counts', question, counts: this.#recorder.snapshot() });
    else {
      const rows = [
        ...this.#inboundConnections.list(MAX_CONNECTION_ROWS),
        ...this.#outboundConnections.list(MAX_CONNECTION_ROWS),
      ];
      tell({ type: 'connections', question, rows });
    }
  }
}

/** As ztunnel names a workload (src/baggage.rs). */
function baggageOf({ namespace, labels }: WorkerStart['workload']): string {
  const service = labels['app.kubernetes.io/name'] ?? labels.app ?? '';
  const said = { 'k8s.namespace.name': namespace, 'service.name': service };
  return Object.entries(said)
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join(',');
}

function tell(message: FromWorker): void {
  parentPort?.postMessage(message);
}

let plane: DataPlane | null = null;
/** Messages are handled one after the other: a rotation never overtakes the start. */
let turn: Promise<void> = Promise.resolve();

async function handle(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'start':
      setLogLevel(message.settings.logLevel);
      complyEverywhere(message.settings.compliancePolicy);
      plane = new DataPlane(message);
      return plane.bind();
    case 'config':
      return plane?.configure(message);
    case 'identity':
      return plane?.identify(message.identity);
    case 'keys':
      return plane?.replaceKeys(message.keySets);
    case 'log-level':
      return setLogLevel(message.level);
    default:
  }
}

parentPort?.on('message', (message: ToWorker) => {
  // Questions and the drain do not wait: a scrape must not queue behind a slow start of tracing.
  if (message.type === 'ask') plane?.answer(message.question, message.what);
  else if (message.type === 'drain') {
    if (plane === null) tell({ type: 'drained', outbound: message.outbound });
    else void plane.drain(message.ms, message.outbound);
  } else {
    turn = turn
      .then(() => handle(message))
      .catch((error: unknown) => {
        tell({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
      });
  }
});
