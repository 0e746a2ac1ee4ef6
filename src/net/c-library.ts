/**
 * The C library's functions, for what Node has no words for: by Node's own FFI (node:ffi, without a flag from 26.9 on),
 * else by koffi.
 */
import { createRequire } from 'node:module';

/** A type as both call it; `pointer` takes a Buffer. 64 bits are a bigint. */
type CType = 'int32' | 'uint32' | 'int64' | 'uint64' | 'pointer';

export interface Prototype {
  readonly arguments: readonly CType[];
  readonly return: CType;
}

export interface CLibrary<Name extends string> {
  /** What calls the system. */
  readonly by: 'node:ffi' | 'koffi';
  readonly functions: Readonly<Record<Name, CFunction>>;
  /** Why the last call failed, asked for before anything else is done. */
  errno(): number;
}

export type CFunction = (...values: readonly (number | bigint | Buffer)[]) => number | bigint;

type Definitions = Parameters<typeof import('node:ffi')['dlopen']>[1];

/** What `errno` is in C: an int of each thread, behind a function. */
const ERRNO = process.platform === 'linux' ? '__errno_location' : '__error';

/** @returns null where neither is there: Node 24 without koffi, or FFI not permitted; or where a function is not there */
export function cLibrary<Name extends string>(
  prototypes: Readonly<Record<Name, Prototype>>,
): CLibrary<Name> | null {
  return fromNode(prototypes) ?? fromKoffi(prototypes);
}

function fromNode<Name extends string>(prototypes: Readonly<Record<Name, Prototype>>): CLibrary<Name> | null {
  try {
    const ffi = withoutWarning(() => process.getBuiltinModule('node:ffi'));
    if (ffi === undefined) return null;
    const errno = { [ERRNO]: { arguments: [], return: 'pointer' } } as const;
    // The program itself: its C library is called something else on each system.
    const { functions } = ffi.dlopen(null, { ...prototypes, ...errno } as Definitions);
    const location = functions[ERRNO] as unknown as () => bigint;
    return {
      by: 'node:ffi',
      functions: functions as unknown as Record<Name, CFunction>,
      errno: () => ffi.getInt32(location()),
    };
  } catch {
    return null;
  }
}

/** Standard error is lines of JSON; that FFI is an experiment is known here. */
function withoutWarning<T>(load: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return load();
  } finally {
    process.emitWarning = emitWarning;
  }
}

interface Koffi {
  load(path: string | null): { func(name: string, result: string, values: readonly string[]): CFunction };
  errno(): number;
}

function fromKoffi<Name extends string>(
  prototypes: Readonly<Record<Name, Prototype>>,
): CLibrary<Name> | null {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    const program = koffi.load(null);
    const spelt = (type: CType): string => (type === 'pointer' ? 'void *' : type);
    const functions = Object.fromEntries(
      Object.entries<Prototype>(prototypes).map(([name, prototype]) => [
        name,
        program.func(name, spelt(prototype.return), prototype.arguments.map(spelt)),
      ]),
    ) as Record<Name, CFunction>;
    return { by: 'koffi', functions, errno: () => koffi.errno() };
  } catch {
    return null;
  }
}
