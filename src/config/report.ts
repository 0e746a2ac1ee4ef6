import type { Place } from './node.ts';
import type { Fault } from './resources.ts';

/** Takes the faults of one resource; `failed` once it has an error, which refuses the resource. */
export interface Report {
  error(place: Place, message: string): void;
  warning(place: Place, message: string): void;
  readonly failed: boolean;
}

/** What a report speaks about; `name` is namespace/name, or empty. */
export interface Subject {
  readonly file: string;
  readonly kind: string;
  readonly name: string;
}

/** A report that appends to `faults`. */
export function reportInto(faults: Fault[], subject: Subject): Report {
  let failed = false;
  const add = (severity: Fault['severity'], { line, column }: Place, message: string): void => {
    faults.push({ ...subject, line, column, severity, message });
  };
  return {
    error(place, message) {
      failed = true;
      add('error', place, message);
    },
    warning(place, message) {
      add('warning', place, message);
    },
    get failed() {
      return failed;
    },
  };
}
