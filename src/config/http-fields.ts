/** Which parts of a rule only a request has: on a TCP port they are left out, and an ALLOW rule with them never matches. */
import type { Condition, Operation, Rule, Source } from './resources.ts';

const SOURCE_FIELDS = ['requestPrincipals', 'notRequestPrincipals'] as const;
const OPERATION_FIELDS = ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'] as const;

/** The fields of a source that only a request has. */
export function httpFieldsOfSource(source: Source): readonly (keyof Source)[] {
  return SOURCE_FIELDS.filter(field => source[field] !== undefined);
}

/** The fields of an operation that only a request has. */
export function httpFieldsOfOperation(operation: Operation): readonly (keyof Operation)[] {
  return OPERATION_FIELDS.filter(field => operation[field] !== undefined);
}

/** True for a condition about a request. */
export function isHttpCondition({ key }: Condition): boolean {
  return key.startsWith('request.');
}

/** True when anything in the rule is about requests: then ALLOW never matches it on TCP, whatever its other parts say. */
export function isAboutRequests({ from, to, when }: Rule): boolean {
  return (
    when.some(isHttpCondition) ||
    (from?.some(source => httpFieldsOfSource(source).length > 0) ?? false) ||
    (to?.some(operation => httpFieldsOfOperation(operation).length > 0) ?? false)
  );
}

/** What remains of a rule on TCP for one operation of it. */
export interface TcpRemainder {
  /** True when something is left out there. */
  readonly loses: boolean;
  /** True when something of it still holds there. */
  readonly keeps: boolean;
}

/** What a rule loses and keeps on TCP; `operation` null = the rule has no `to`. */
export function onTcp({ from, when }: Rule, operation: Operation | null): TcpRemainder {
  const sources = from ?? [];
  const http = operation ? httpFieldsOfOperation(operation).length : 0;
  // One source that loses all its fields lets every peer through, whatever the others ask.
  const kept = sources.every(source => Object.keys(source).length > httpFieldsOfSource(source).length);
  return {
    loses:
      http > 0 || when.some(isHttpCondition) || sources.some(source => httpFieldsOfSource(source).length > 0),
    keeps:
      (operation !== null && Object.keys(operation).length > http) ||
      (sources.length > 0 && kept) ||
      when.some(condition => !isHttpCondition(condition)),
  };
}

/** True when the rule names the ports that it is about, for this operation. */
export function namesPorts({ when }: Rule, operation: Operation | null): boolean {
  return (
    operation?.ports !== undefined ||
    when.some(({ key, values }) => key === 'destination.port' && values.length > 0)
  );
}
