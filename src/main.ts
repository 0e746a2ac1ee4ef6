/** argv → command. The only place that ends the process; each command is read from disk when it is asked for. */

import type { Parsed } from './cli/flags.ts';
import { nodeIsSupported, versionLine } from './cli/version.ts';
import { readEnvironment } from './config/environment.ts';

type Command = (args: readonly string[]) => Promise<number>;

const USAGE = `usage: outrider COMMAND [flags]

  run [flags] [-- CMD ARG…]    run the sidecar; with -- CMD, start the app when it is ready
  demo                         a small mesh on this machine, with what happens and why
  check PATH…                  validate manifests, mesh config and certificates
  explain …                    say what policy decides about a request, and why
  replay …                     an access log under two configurations: which verdicts change
  certs init|issue|revoke|show development certificates, and what is in a certificate folder
  capture apply|remove|print   the rules that lead connections to the sidecar
  inject -f FILE               pod specs in, pod specs with the sidecar out
  webhook [flags]              the same as a mutating admission webhook
  healthcheck [--port 15021]   exit 0 when the sidecar on this machine is ready
  drain [--port 15000]         tell the sidecar on this machine to drain

  --version, --help; every command has --help
`;

const COMMANDS: Readonly<Record<string, Command>> = {
  run: async args => {
    // Loading a data-plane thread takes the longest of all: it begins before the flags are read.
    const workers = new (await import('./workers.ts')).Workers();
    workers.warm(1);
    const { parseRun } = await import('./cli/run-flags.ts');
    return carryOut(parseRun(args, readEnvironment()), async settings =>
      (await import('./cli/run.ts')).runRun(settings, workers),
    );
  },
  demo: async args => {
    const { parseDemo } = await import('./cli/command-flags.ts');
    return carryOut(parseDemo(args), async settings => (await import('./cli/demo.ts')).runDemo(settings));
  },
  check: async args => (await import('./cli/check.ts')).check(args),
  explain: async args => {
    const { parseExplain } = await import('./cli/command-flags.ts');
    return carryOut(parseExplain(args), async ({ request, ...options }) => {
      const { runExplain } = await import('./cli/explain.ts');
      const headers = request.headers.map(({ name, value }) => `${name}: ${value}`);
      return runExplain({ ...options, request: { ...request, headers } }, process);
    });
  },
  replay: async args => {
    const { parseReplay } = await import('./cli/replay-flags.ts');
    return carryOut(parseReplay(args), async settings =>
      (await import('./cli/replay.ts')).runReplay(settings, process),
    );
  },
  certs: async args => {
    const { parseCerts } = await import('./cli/certs-flags.ts');
    return carryOut(parseCerts(args), async options => (await import('./cli/certs.ts')).runCerts(options));
  },
  capture: async args => {
    const { parseCapture } = await import('./cli/capture-flags.ts');
    return carryOut(parseCapture(args), async settings =>
      (await import('./cli/capture.ts')).runCapture(settings, process),
    );
  },
  inject: async args => {
    const { parseInject } = await import('./cli/inject-flags.ts');
    return carryOut(parseInject(args), async flags => (await import('./cli/inject.ts')).runInject(flags));
  },
  webhook: async args => {
    const { parseWebhook, runWebhook } = await import('./cli/webhook.ts');
    return carryOut(parseWebhook(args), runWebhook);
  },
  healthcheck: async args => {
    const { parseHealthcheck, runHealthcheck } = await import('./cli/healthcheck.ts');
    return carryOut(parseHealthcheck(args, readEnvironment()), runHealthcheck);
  },
  drain: async args => {
    const { parseDrain, runDrain } = await import('./cli/drain.ts');
    return carryOut(parseDrain(args, readEnvironment()), runDrain);
  },
};

async function main(args: readonly string[]): Promise<number> {
  if (!nodeIsSupported(process.version)) {
    return failed(1, `needs Node ^24.21.0 || >=26.9.0 and this is ${process.version}`);
  }
  const [name, ...rest] = args;
  switch (name) {
    case '--version':
      process.stdout.write(`${versionLine()}\n`);
      return 0;
    case '--help':
    case '-h':
    case 'help':
      process.stdout.write(USAGE);
      return 0;
    case undefined:
      process.stderr.write(USAGE);
      return 2;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined)
    return failed(
      2,
      `unknown ${name.startsWith('-') ? 'flag' : 'command'} ${name}; outrider --help lists them`,
    );
  return command(rest);
}

/** Runs a command whose line is right; otherwise prints its help, or what is wrong. */
async function carryOut<T>(parsed: Parsed<T>, run: (value: T) => Promise<number>): Promise<number> {
  if (parsed.ok) return run(parsed.value);
  if (parsed.exitCode !== 0) return failed(parsed.exitCode, parsed.message);
  process.stdout.write(parsed.message);
  return 0;
}

/** One line on standard error, and the exit code to end with. */
function failed(code: number, reason: string): number {
  process.stderr.write(`outrider: ${reason}\n`);
  return code;
}

/** What a person needs of an error nobody expected: its message, and where it was thrown. */
function surprise(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const place = /\(?([^\s()]+:\d+:\d+)\)?/.exec(error.stack?.split('\n    at ')[1] ?? '')?.[1];
  return `${error.name}: ${error.message.split('\n', 1)[0]}${place === undefined ? '' : ` at ${place}`}`;
}

const SIDECAR_FLUSH_MS = 1_000; // a sidecar whose log reader stands still ends all the same

/** Ends the process when what was written has left it: on a pipe, an exit cuts off all but the first 64 KiB. */
async function exit(code: number): Promise<void> {
  if (process.argv[2] === 'run') setTimeout(() => process.exit(code), SIDECAR_FLUSH_MS);
  await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
  process.exit(code);
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise(resolve => {
    if (stream.writableLength === 0 || stream.destroyed) resolve();
    else stream.write('', () => resolve());
  });
}

/** `outrider … | head` has what it wants: done. A sidecar goes on, whoever reads its logs; a demo takes its mesh down. */
function onBrokenPipe(error: NodeJS.ErrnoException): void {
  if (process.argv[2] === 'run' || process.argv[2] === 'webhook') return;
  if (process.argv[2] === 'demo') process.kill(process.pid, 'SIGINT');
  else process.exit(error.code === 'EPIPE' ? 0 : 1);
}

process.stdout.on('error', onBrokenPipe);
process.stderr.on('error', onBrokenPipe);
process.on('uncaughtException', error => exit(failed(1, surprise(error))));
main(process.argv.slice(2)).then(exit, error => exit(failed(1, surprise(error))));
