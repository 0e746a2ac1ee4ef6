import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { LineSink } from '../../src/telemetry/line-sink.ts';

const SINK = new URL('../../src/telemetry/line-sink.ts', import.meta.url).href;

/** A real pipe: its writing end, and a function that reads what is in it now. Node's own are sockets. */
function pipe(t: Test): {
  fd: number;
  read: () => string;
  closeReader: () => void;
} {
  const path = join(t.testdir(), 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  const fd = fs.openSync(path, 'w');
  t.teardown(() => fs.closeSync(fd));
  const buffer = Buffer.alloc(1 << 16);
  const read = (): string => {
    let text = '';
    try {
      for (let size = 1; size > 0; text += buffer.toString('latin1', 0, size)) {
        size = fs.readSync(reader, buffer);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
    return text;
  };
  return { fd, read, closeReader: () => fs.closeSync(reader) };
}

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}

t.test('lines reach a file whole and in order', async t => {
  const path = join(t.testdir(), 'log');
  const fd = fs.openSync(path, 'w');
  const sink = new LineSink(fd);
  const lines = Array.from({ length: 5_000 }, (_, i) => `${i} ${'ü'.repeat(i % 90)}`);
  t.ok(lines.every(line => sink.write(line)));
  await sink.close();
  fs.closeSync(fd);
  t.equal(fs.readFileSync(path, 'utf8'), lines.map(line => `${line}\n`).join(''));
  t.equal(sink.dropped, 0);
});

t.test('nothing is written before the turn ends, then everything at once', async t => {
  const path = join(t.testdir(), 'log');
  const fd = fs.openSync(path, 'w');
  t.teardown(() => fs.closeSync(fd));
  const sink = new LineSink(fd);
  sink.write('a');
  sink.write('b');
  t.equal(fs.readFileSync(path, 'utf8'), '');
  await turn();
  t.equal(fs.readFileSync(path, 'utf8'), 'a\nb\n');
});

t.test('a reader that stalls stops nobody: what does not fit is dropped and counted', async t => {
  const { fd, read } = pipe(t);
  const sink = new LineSink(fd, 100_000);
  const accepted: string[] = [];
  for (let i = 0; i < 10_000; i++) {
    const line = String(i).padStart(99, ' ');
    if (sink.write(line)) accepted.push(line);
    if (i % 500 === 0) await turn();
  }
  t.equal(accepted.length + sink.dropped, 10_000);
  t.ok(accepted.length > 1_000, `a full queue and what the pipe held are kept: ${accepted.length}`);
  t.ok(sink.dropped >= 8_000, 'and no more');
  let text = '';
  while (!sink.flush()) text += read();
  text += read();
  t.equal(text, accepted.map(line => `${line}\n`).join(''));
  t.ok(sink.write('again'), 'there is room again');
  t.ok(sink.flush());
  t.equal(read(), 'again\n');
});

t.test('a stalled pipe goes on by itself once it is read', async t => {
  const { fd, read } = pipe(t);
  const sink = new LineSink(fd);
  for (let i = 0; i < 3_000; i++) sink.write('x'.repeat(99));
  let text = '';
  const written = sink.close();
  for (let i = 0; i < 10_000 && text.length < 300_000; i++) {
    await turn();
    text += read();
  }
  await written;
  t.equal(text, `${'x'.repeat(99)}\n`.repeat(3_000));
});

t.test('the non-blocking mode is the sink own: the descriptor that it was given still blocks', async t => {
  const { fd } = pipe(t);
  const flags = (): string => fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
  const before = flags();
  const sink = new LineSink(fd);
  sink.write('x');
  t.equal(flags(), before);
  await sink.close();
});

t.test('a reader that is gone ends the sink quietly', async t => {
  const { fd, closeReader } = pipe(t);
  const sink = new LineSink(fd);
  closeReader();
  sink.write('a');
  sink.write('b');
  await turn();
  t.equal(sink.dropped, 2);
  t.equal(sink.write('c'), false);
  t.equal(sink.dropped, 3);
});

t.test('a full disk loses lines, counts them, and does not throw', async t => {
  const fd = fs.openSync('/dev/full', 'w');
  t.teardown(() => fs.closeSync(fd));
  const sink = new LineSink(fd);
  sink.write('a');
  sink.write('b');
  await sink.close();
  t.equal(sink.dropped, 2);
});

t.test('a socket is written through the thread pool, in order, and waits for its reader', async t => {
  const code = `
    import { LineSink } from ${JSON.stringify(SINK)};
    const sink = new LineSink(1);
    for (let i = 0; i < 20_000; i++) sink.write('line ' + i);
    await sink.close();`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', chunk => {
    text += chunk;
  });
  await once(child, 'close');
  t.equal(text, Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join(''));
});

t.test('threads on one pipe do not mix their lines', async t => {
  const { fd, read } = pipe(t);
  const source = `
    import { LineSink } from ${JSON.stringify(SINK)};
    import { workerData } from 'node:worker_threads';
    const sink = new LineSink(workerData.fd);
    for (let i = 0; i < 500; i++) sink.write(workerData.letter.repeat(300));
    await sink.close();`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const workers = ['a', 'b'].map(letter => new Worker(url, { workerData: { fd, letter } }));
  let running = workers.length;
  for (const worker of workers) worker.once('exit', () => running--);
  let text = '';
  while (running > 0) {
    text += read();
    await turn();
  }
  text += read();
  const lines = text.trimEnd().split('\n');
  t.equal(lines.length, 1_000);
  t.ok(lines.every(line => /^(?:a{300}|b{300})$/.test(line)));
});
