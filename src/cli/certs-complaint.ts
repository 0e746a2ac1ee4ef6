/** A line for the person at the command line, and the exit code. */
export class Complaint extends Error {
  readonly exitCode: 1 | 2;

  constructor(exitCode: 1 | 2, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** What to say of an error; null when it is nobody's but ours. */
export function complaintOf(error: unknown): Complaint | null {
  if (error instanceof Complaint) return error;
  const { code, path } = error as NodeJS.ErrnoException;
  return code && path ? new Complaint(1, `${path}: cannot be read or written (${code})`) : null;
}
