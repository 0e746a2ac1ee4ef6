#!/usr/bin/env node
// Starts dist/main.js with a Node that can run it: this one, or the one that the package pins.
// Plain JavaScript that Node 18 can read, with no output of its own: what a script sees is the sidecar's.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const NEEDED = '^24.21.0 || >=26.9.0'; // package.json, engines.node
const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'];
const FROM_THE_TERMINAL = new Set(['SIGINT', 'SIGQUIT']);

const bundle = fileURLToPath(new URL('../dist/main.js', import.meta.url));
if (!existsSync(bundle)) {
  fail('dist/main.js is missing; `npm run build` makes it');
} else if (isSupported(process.version)) {
  await import('../dist/main.js');
} else {
  const node = pinnedNode();
  if (node === null) {
    fail(
      `needs Node ${NEEDED} and this is ${process.version}; the optional dependency node-linux-* brings one`,
    );
  } else {
    hand(node, [bundle, ...process.argv.slice(2)]);
  }
}

/** @param {string} version `vA.B.C` */
function isSupported(version) {
  const [major, minor] = version.slice(1).split('.').map(Number);
  return (major === 24 && minor >= 21) || (major === 26 && minor >= 9) || major > 26;
}

/** The pinned binary's path; null where it is not installed or the C library is not the one it needs. */
function pinnedNode() {
  if (process.platform !== 'linux') return null;
  process.report.excludeNetwork = true; // otherwise the report looks up the names of the open connections
  if (process.report.getReport().header.glibcVersionRuntime === undefined) return null; // musl
  try {
    return createRequire(import.meta.url).resolve(`node-linux-${process.arch}/bin/node`);
  } catch {
    return null;
  }
}

/**
 * Becomes the other Node where this one can (22.15 and up), and stands before it as a quiet parent where not, or where
 * sockets were handed over.
 */
function hand(node, args) {
  const sockets = handedOver();
  if (sockets.length === 0 && typeof process.execve === 'function') process.execve(node, [node, ...args]);

  const child = spawn(node, args, {
    stdio: ['inherit', 'inherit', 'inherit', ...sockets],
    // LISTEN_PID is of this process: the child believes it when told that this is its parent.
    env: sockets.length === 0 ? process.env : { ...process.env, OUTRIDER_LISTEN_PARENT: process.pid },
  });
  const atTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  for (const signal of FORWARDED) {
    // A terminal sends these to the whole process group: forwarded as well, one Ctrl-C would count as two.
    process.on(signal, () => {
      if (!(atTerminal && FROM_THE_TERMINAL.has(signal))) child.kill(signal);
    });
  }
  child.on('error', error => fail(`cannot start ${node}: ${error.message}`));
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    for (const name of FORWARDED) process.removeAllListeners(name);
    process.kill(process.pid, signal); // the parent's parent sees the same death
  });
}

/** The descriptors that systemd gave this process, sd_listen_fds(3). Node marked them as closed by execve when it started. */
function handedOver() {
  const { LISTEN_PID, LISTEN_FDS = '' } = process.env;
  if (LISTEN_PID !== String(process.pid) || !/^\d{1,4}$/.test(LISTEN_FDS)) return [];
  return Array.from({ length: Number(LISTEN_FDS) }, (_, index) => 3 + index);
}

function fail(reason) {
  process.stderr.write(`outrider: ${reason}\n`);
  process.exitCode = 1;
}
