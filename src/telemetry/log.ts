import { jsonLine } from './access-log.ts';
import { LineSink } from './line-sink.ts';

/** Outrider's own log: one JSON object a line on standard error. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'off';
export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'off'];

export type LogFields = Readonly<Record<string, unknown>>;

let threshold = LOG_LEVELS.indexOf('info');
let write: (line: string) => void = toStandardError;

/** The least level that is written, on this thread. */
export function setLogLevel(level: LogLevel): void {
  threshold = LOG_LEVELS.indexOf(level);
}

export function logLevel(): LogLevel {
  return LOG_LEVELS[threshold] ?? 'info';
}

export function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}

/** Sends the lines elsewhere (tests, a worker that hands them to the main thread). */
export function setLogWriter(writer: (line: string) => void): void {
  write = writer;
}

/**
 * `log.warn('certificates refused', { file, reason })`. Whatever the fields hold, the line is one line of valid JSON;
 * `time`, `level` and `msg` cannot be overwritten by them.
 */
export const log = {
  debug: (msg: string, fields?: LogFields): void => emit('debug', msg, fields),
  info: (msg: string, fields?: LogFields): void => emit('info', msg, fields),
  warn: (msg: string, fields?: LogFields): void => emit('warn', msg, fields),
  error: (msg: string, fields?: LogFields): void => emit('error', msg, fields),
};

function emit(level: LogLevel, msg: string, fields: LogFields = {}): void {
  if (LOG_LEVELS.indexOf(level) < threshold) return;
  const head = { time: new Date().toISOString(), level, msg };
  write(line({ ...head, ...fields, ...head }));
}

function line(value: LogFields): string {
  try {
    return jsonLine(value, plain);
  } catch {
    return jsonLine({ time: value.time, level: value.level, msg: value.msg, fields: 'not serialisable' });
  }
}

/** Errors and big integers have no JSON of their own. */
function plain(_key: string, value: unknown): unknown {
  if (value instanceof Error) return value.message;
  return typeof value === 'bigint' ? String(value) : value;
}

let sink: LineSink | null = null;

/** Waits, a second at most, until the lines so far have left: to a socket, such as systemd's, they go one at a time. */
export async function flushLog(): Promise<void> {
  const written = sink;
  sink = null;
  await written?.close();
}

/** At once, so that the last words before an exit are out; a reader that stalls loses lines, it does not stop a thread. */
function toStandardError(text: string): void {
  sink ??= new LineSink(2);
  sink.write(text);
  sink.flush();
}
