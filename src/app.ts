/**
 * The sidecar's main thread: loads configuration and identity, starts the workers, looks after them and the admin
 * ports, and takes everything down again in the order that loses nothing.
 */
import { type Admin, createAdmin } from './admin/server.ts';
import { startApp } from './child.ts';
import { type AppProbe, parseAppProbes } from './config/app-probes.ts';
import { workerCount } from './config/cpu-limit.ts';
import { readEnvironment } from './config/environment.ts';
import { loadManifests } from './config/manifest.ts';
import type { Fault, Resources, Workload } from './config/resources.ts';
import type { RunSettings } from './config/settings.ts';
import { watchManifests } from './config/watch.ts';
import { shownKeySets, withoutSecrets } from './config/without-secrets.ts';
import { takeHandedOver } from './handed-over.ts';
import type { KeySets } from './identity/jwks-source.ts';
import { JwksStore } from './identity/jwks-store.ts';
import { parseSpiffeId } from './identity/spiffe.ts';
import { complyEverywhere } from './net/tls-defaults.ts';
import { OwnIdentity } from './own-identity.ts';
import { egressPorts } from './proxy/egress.ts';
import { compileSnapshot, jwtRulesOf } from './proxy/snapshot.ts';
import { certificates, readiness, type SidecarStatus } from './status.ts';
import { flushLog, isLogLevel, LOG_LEVELS, log, setLogLevel } from './telemetry/log.ts';
import type { Workers } from './workers.ts';

const DRAIN_MS = 5_000; // Istio's terminationDrainDuration

/** What the command line lends the sidecar. */
export interface Console {
  readonly version: string;
  /** Writes the `ready` line. */
  announce(line: string): void;
}

/**
 * Runs the sidecar until a signal, /quitquitquit or the app's end.
 * @param workers may be warm already
 * @returns the exit code
 */
export async function runSidecar(settings: RunSettings, workers: Workers, console: Console): Promise<number> {
  try {
    return await run(settings, workers, console);
  } finally {
    await flushLog();
  }
}

async function run(settings: RunSettings, workers: Workers, console: Console): Promise<number> {
  complyEverywhere(settings.compliancePolicy);
  const loaded = loadManifests(settings.configPaths);
  if (!loaded.ok) {
    for (const fault of loaded.faults) log.error(describe(fault), place(fault));
    await workers.stop();
    return 1;
  }
  for (const warning of loaded.warnings) log.warn(describe(warning), place(warning));
  const { resources, digest } = loaded;
  return new Sidecar({ settings, resources, digest, console, workers }).run();
}

interface SidecarParts {
  readonly settings: RunSettings;
  readonly resources: Resources;
  /** Of the files behind `resources`. */
  readonly digest: string;
  readonly console: Console;
  readonly workers: Workers;
}

class Sidecar {
  #settings: RunSettings;
  #console: Console;
  #resources: Resources;
  #workers: Workers;
  #admin: Admin | null = null;
  #identity: OwnIdentity;
  #jwks: JwksStore;
  #keySets: KeySets = {};
  #startedAt = Date.now();
  #digest: string;
  #ready = false;
  #draining = false;
  #config = { generation: 1, reloads: 0, failures: 0, lastReloadSuccessful: true, loadedAt: Date.now() };
  #lastFaults: readonly Fault[] = [];
  #ended = Promise.withResolvers<number>();

  constructor(parts: SidecarParts) {
    const { settings, resources } = parts;
    this.#settings = settings;
    this.#console = parts.console;
    this.#workers = parts.workers;
    this.#digest = parts.digest;
    this.#resources = resources;
    setLogLevel(settings.logLevel);
    this.#jwks = new JwksStore({
      onChange: keySets => {
        this.#keySets = keySets;
        this.#workers.replaceKeys(keySets);
      },
      warn: log.warn,
      info: log.info,
    });
    this.#identity = new OwnIdentity(settings, identity => this.#workers.identify(identity));
  }

  async run(): Promise<number> {
    const count = workerCount(this.#settings.workers, this.#resources.mesh.concurrency);
    this.#workers.warm(count);
    try {
      await this.#start(count);
    } catch (error) {
      if (!this.#draining) log.error(error instanceof Error ? error.message : String(error));
      await this.#close();
      return this.#draining ? 0 : 1;
    }
    const code = await this.#ended.promise;
    await this.#close();
    return code;
  }

  async #start(count: number): Promise<void> {
    const settings = this.#settings;
    this.#listenToSignals();
    if (settings.explainDenials && this.#accessLog() !== 'json') {
      log.warn('denials are explained in the JSON access log only: add --access-log json', {
        accessLog: this.#accessLog(),
      });
    }
    const handedOver = takeHandedOver(settings);
    void this.#identity.start(this.#resources.mesh.caCrl);
    this.#admin = await createAdmin({
      state: {
        ready: () => readiness(this.#status()),
        metrics: () => this.#metrics(),
        configDump: () => this.#configDump(),
        certs: () => certificates(this.#status()),
        connections: () => this.#workers.connections(),
        explain: body => this.#explain(body),
        drain: () => void this.#drain('drain asked for', false),
        quit: () => void this.#end('quit asked for', 'SIGTERM'),
        setLogLevel: level => {
          if (!isLogLevel(level)) return `level is one of ${LOG_LEVELS.join(', ')}`;
          setLogLevel(level);
          this.#workers.setLogLevel(level);
          return null;
        },
      },
      addresses: { admin: settings.admin, health: settings.health, telemetry: settings.telemetry },
      adminHosts: settings.adminHosts,
      appProbes: appProbes(),
      onError: (error, path) => log.error('admin fault', { path, reason: String(error) }),
    });
    await Promise.race([this.#identity.first, this.#ended.promise]);
    const identity = this.#identity.current;
    if (identity === null || this.#draining) return;
    const resources = this.#resources;
    // Tokens would be refused until the keys are there: each source is waited for once, for its timeout at most.
    this.#keySets = await this.#jwks.want(jwtRulesOf(resources, this.#workload()));
    if (this.#draining) return;
    const bound = await this.#workers.start(count, {
      settings,
      accessLog: this.#accessLog(),
      workload: this.#workload(),
      resources,
      generation: this.#config.generation,
      identity,
      inbound: settings.inbound,
      hbone: settings.hbone,
      outbound: settings.outbound,
      handedOver,
      egress: egressPorts(resources, this.#workload()),
      ownPorts: Object.values(this.#admin.addresses).map(({ port }) => port),
      keySets: this.#keySets,
    });
    if (this.#draining) return; // told to end while the workers started: the app must not begin now
    // What changed while the workers started.
    const { current } = this.#identity;
    if (current !== identity && current !== null) this.#workers.identify(current);
    if (this.#resources !== resources) this.#configureWorkers();
    this.#ready = true;
    this.#sayReady(bound);
    this.#watchConfig();
    this.#runApp();
  }

  #sayReady(bound: { inbound: HostPort; hbone: HostPort | null; outbound: HostPort }): void {
    const { admin, health, telemetry } = this.#admin?.addresses ?? this.#settings;
    const identity = this.#identity.current;
    const line = {
      msg: 'ready',
      inbound: text(bound.inbound),
      ...(bound.hbone !== null && { hbone: text(bound.hbone) }),
      outbound: text(bound.outbound),
      admin: text(admin),
      health: text(health),
      telemetry: text(telemetry),
      id: identity?.id,
      notAfter: new Date(identity?.notAfter ?? 0).toISOString(),
    };
    this.#console.announce(JSON.stringify(line));
  }

  #runApp(): void {
    const { command } = this.#settings;
    if (command === null) return;
    const app = startApp(command, reason =>
      log.error('the app does not start', { command: command[0], reason }),
    );
    this.#app = app;
    void app.exited.then(async code => {
      log.info('the app ended', { code });
      this.#appEnded = true;
      this.#exitCode = code;
      await this.#drain('the app ended', true);
    });
  }

  #app: ReturnType<typeof startApp> | null = null;
  #appEnded = false;
  /** The app's, once it has ended. */
  #exitCode = 0;

  #listenToSignals(): void {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.on(name, () => void this.#end(name, name));
    }
    process.on('SIGHUP', () => {
      log.info('reloading', { by: 'SIGHUP' });
      this.#reload();
      this.#identity.reload();
    });
  }

  #toldToEnd = false;

  /**
   * Drains, and passes `signal` on to the app when nothing that it was asked is open any more: an app may die of it at once.
   * A second time is impatience: the app gets it now; without one to wait for, the process ends now.
   */
  async #end(why: string, signal: 'SIGTERM' | 'SIGINT'): Promise<void> {
    if (this.#toldToEnd) {
      this.#app?.signal(signal);
      if (this.#app === null || this.#appEnded) this.#ended.resolve(this.#exitCode);
      return;
    }
    this.#toldToEnd = true;
    void this.#drain(why, true);
    await this.#inboundDrained;
    this.#app?.signal(signal);
  }

  /** From the SPIFFE ID unless flags say otherwise. */
  #workload(): Workload {
    const { namespace, serviceAccount, labels } = this.#settings;
    const { current } = this.#identity;
    const parsed = current === null ? null : parseSpiffeId(current.id);
    const id = parsed?.ok === true ? parsed.id : null;
    return {
      namespace: namespace ?? id?.namespace ?? 'default',
      serviceAccount: serviceAccount ?? id?.serviceAccount ?? 'default',
      labels,
    };
  }

  /** The flag, else the mesh config, else JSON. */
  #accessLog(): 'off' | 'text' | 'json' {
    const { accessLogFile, accessLogEncoding } = this.#resources.mesh;
    if (this.#settings.accessLog !== null) return this.#settings.accessLog;
    if (accessLogFile === null) return 'json';
    if (accessLogFile === '') return 'off';
    return accessLogEncoding === 'TEXT' ? 'text' : 'json';
  }

  #watchConfig(): void {
    if (this.#settings.configPaths.length === 0) return;
    const watch = watchManifests(this.#settings.configPaths, {
      known: this.#digest,
      onChange: () => this.#reload(),
    });
    this.#closers.push(() => watch.close());
  }

  #closers: (() => void)[] = [];

  /** Reads all files again; one fault and nothing changes. */
  #reload(): void {
    if (this.#draining) return;
    const loaded = loadManifests(this.#settings.configPaths);
    if (!loaded.ok) {
      this.#refuse(loaded.faults);
      return;
    }
    try {
      compileSnapshot(loaded.resources, this.#workload(), this.#config.generation + 1, this.#keySets);
    } catch (error) {
      log.error('configuration does not compile, the last good one stays in force', {
        reason: String(error),
      });
      this.#refuse([]);
      return;
    }
    for (const warning of loaded.warnings) log.warn(describe(warning), place(warning));
    void this.#replaceWhenKeysAreThere(loaded.resources);
  }

  #reloads = 0;

  /** Tokens that a new rule accepts must not be refused for want of its keys; a later reload overtakes this one. */
  async #replaceWhenKeysAreThere(resources: Resources): Promise<void> {
    const reload = ++this.#reloads;
    const wanted = jwtRulesOf(resources, this.#workload());
    const inForce = jwtRulesOf(this.#resources, this.#workload());
    const keySets = await this.#jwks.want([...inForce, ...wanted]);
    if (reload !== this.#reloads || this.#draining) return;
    void this.#jwks.want(wanted);
    this.#keySets = keySets;
    this.#resources = resources;
    this.#identity.useMeshLists(resources.mesh.caCrl);
    this.#lastFaults = [];
    this.#config.generation++;
    this.#config.reloads++;
    this.#config.lastReloadSuccessful = true;
    this.#config.loadedAt = Date.now();
    log.info('configuration replaced', { generation: this.#config.generation });
    this.#configureWorkers();
  }

  #refuse(faults: readonly Fault[]): void {
    this.#config.failures++;
    this.#config.lastReloadSuccessful = false;
    this.#lastFaults = faults;
    for (const fault of faults) log.error(describe(fault), place(fault));
    log.warn('configuration refused, the last good one stays in force', {
      generation: this.#config.generation,
    });
  }

  #configureWorkers(): void {
    const workload = this.#workload();
    this.#workers.configure({
      resources: this.#resources,
      workload,
      generation: this.#config.generation,
      accessLog: this.#accessLog(),
      egress: egressPorts(this.#resources, workload),
      keySets: this.#keySets,
    });
  }

  #status(): SidecarStatus {
    return {
      identity: this.#identity.current,
      lastFailure: this.#identity.lastFailure,
      ready: this.#ready,
      draining: this.#draining,
      config: this.#config,
      faults: this.#lastFaults,
      workers: this.#workers.size,
    };
  }

  async #metrics(): Promise<string> {
    const { renderMetrics } = await import('./telemetry/metrics.ts');
    return renderMetrics({
      counts: await this.#workers.counts(),
      process: {
        version: this.#console.version,
        startedAt: this.#startedAt,
        workers: this.#workers.size,
        workerRestarts: this.#workers.restarts,
      },
      identity: this.#identity.current,
      certificates: this.#identity.counts,
      config: this.#config,
    });
  }

  #configDump(): unknown {
    const { command: _command, ...settings } = this.#settings;
    return {
      generation: this.#config.generation,
      loadedAt: new Date(this.#config.loadedAt).toISOString(),
      workload: this.#workload(),
      settings,
      resources: withoutSecrets(this.#resources),
      keySets: shownKeySets(this.#keySets),
    };
  }

  /** The body and answers of `outrider explain --json`, on what is in force. */
  async #explain(body: string) {
    const { explainBody } = await import('./proxy/explain-body.ts');
    const federated = Object.keys(this.#identity.current?.federated ?? {});
    return explainBody(body, this.#resources, this.#workload(), this.#keySets, federated);
  }

  /**
   * Stops taking requests and finishes those in flight. Outbound stays up for as long as the app of `-- CMD` runs, which
   * ends the process with its own code; without one both sides drain at once. `end` false: the process stays.
   */
  async #drain(why: string, end: boolean): Promise<void> {
    if (!this.#draining) {
      this.#draining = true;
      log.info('draining', { why });
      this.#inboundDrained = this.#workers.drain(this.#drainMs(), false);
    }
    if (!end) return;
    if (this.#app !== null && !this.#appEnded) return; // the app's end comes back here
    this.#outboundDrained ??= this.#workers.drain(this.#drainMs(), true);
    await Promise.all([this.#inboundDrained, this.#outboundDrained]);
    this.#ended.resolve(this.#exitCode);
  }

  #inboundDrained: Promise<void> = Promise.resolve();
  #outboundDrained: Promise<void> | null = null;

  #drainMs(): number {
    const { drainSeconds } = this.#settings;
    return drainSeconds === null ? (this.#resources.mesh.drainMs ?? DRAIN_MS) : drainSeconds * 1000;
  }

  async #close(): Promise<void> {
    for (const close of this.#closers) close();
    this.#identity.close();
    this.#jwks.close();
    await this.#workers.stop();
    await this.#admin?.close();
  }
}

/** What injection wrote beside the app; a variable that is none leaves the probes without answer, and says so. */
function appProbes(): ReadonlyMap<string, AppProbe> {
  const read = parseAppProbes(readEnvironment().ISTIO_KUBE_APP_PROBERS);
  if (read.ok) return read.probes;
  log.error('the probes of the app are not answered', {
    variable: 'ISTIO_KUBE_APP_PROBERS',
    reason: read.reason,
  });
  return new Map();
}

interface HostPort {
  readonly host: string;
  readonly port: number;
}

function text({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function describe(fault: Fault): string {
  return `${fault.file}:${fault.line}:${fault.column} ${fault.severity} ${fault.message}`;
}

/** What it is about, where that is a resource. */
function place({ kind, name }: Fault): Record<string, unknown> {
  return kind === '' && name === '' ? {} : { kind, name };
}
