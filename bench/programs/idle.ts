/** Opens many mutual-TLS connections, asks once on each, then holds them without a byte. A child of the bench. */
import { createSecureContext } from 'node:tls';
import { Connection } from './connection.ts';
import { begin, clientTls, type Destination, end, Faults, job } from './protocol.ts';

export interface IdleJob extends Destination {
  readonly identity: string;
  readonly connections: number;
}

const AT_ONCE = 32; // a burst of thousands would fill the accept queue

const task = await job<IdleJob>();
const faults = new Faults();
const context = createSecureContext(clientTls(task.identity));
const startedAt = performance.now();
let opened = 0;
let answered = 0;

begin();
while (opened < Math.min(AT_ONCE, task.connections)) open();

function open(): void {
  opened += 1;
  new Connection(task.port, context, {
    onReady: connection => connection.ask(),
    onAnswer: (_connection, status) => {
      if (status !== 200) faults.add(`answered ${status}`);
      answered += 1;
      if (opened < task.connections) open();
      else if (answered === task.connections) finish();
    },
    onFault: reason => {
      faults.add(reason);
      finish();
    },
  });
}

function finish(): void {
  const seconds = (performance.now() - startedAt) / 1000;
  end({ count: answered, seconds, faults: faults.count, reason: faults.reason, p50Ms: null, p99Ms: null });
}
