/** What there is to say of a manifest: a fault, which refuses it, or something that its owner should know. */
import type { JsonPath } from './json-value.ts';

export interface Note {
  readonly severity: 'error' | 'warning';
  /** Where, from the top of the pod template. */
  readonly path: JsonPath;
  readonly message: string;
}

/** Gathers notes on the way. */
export class Notes {
  readonly all: Note[] = [];

  error(path: JsonPath, message: string): void {
    this.all.push({ severity: 'error', path, message });
  }

  warn(path: JsonPath, message: string): void {
    this.all.push({ severity: 'warning', path, message });
  }

  get failed(): boolean {
    return this.all.some(({ severity }) => severity === 'error');
  }
}
