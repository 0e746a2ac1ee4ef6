/** The listeners that this process was started with, by systemd or another who keeps them open between two runs. */
import { takeListenFds } from './config/listen-fds.ts';
import { DEFAULT_LISTENERS, type RunSettings } from './config/settings.ts';
import type { HandedOver } from './messages.ts';
import { keep } from './net/handed-over.ts';
import { log } from './telemetry/log.ts';

const SIDES = ['inbound', 'outbound'] as const;

/**
 * Takes them, once; they stay open to the end of the process, so that connections wait for the next one and are not refused.
 * @throws Error with the descriptor when one of these names cannot be listened on
 */
export function takeHandedOver(settings: RunSettings): HandedOver {
  const taken: Record<(typeof SIDES)[number], number[]> = { inbound: [], outbound: [] };
  for (const { descriptor, name } of takeListenFds()) {
    const side = SIDES.find(known => known === name);
    if (side === undefined) {
      log.warn('a socket that was handed over has no name of a listener, and is left alone', {
        descriptor,
        name,
        names: SIDES.join(', '),
      });
      continue;
    }
    keepFor(side, descriptor);
    taken[side].push(descriptor);
  }
  for (const side of SIDES) if (taken[side].length > 0) tellOfFlag(side, settings);
  return taken;
}

function keepFor(side: string, descriptor: number): void {
  try {
    keep(descriptor);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `cannot listen on the ${side} socket that was handed over (descriptor ${descriptor}): ${reason}`,
    );
  }
}

function tellOfFlag(side: (typeof SIDES)[number], settings: RunSettings): void {
  const { host, port } = settings[side];
  const usual = DEFAULT_LISTENERS[side];
  if (host === usual.host && port === usual.port) return;
  log.info(`the ${side} socket that was handed over is listened on, and not --${side}`, { host, port });
}
