/**
 * DNS names as Istio validates them. Each function gives what is wrong, or null.
 */
import { quote } from './quote.ts';

const LABEL = /^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$/;
const WILDCARD_LABEL = /^(?:\*|(?:\*|\*-)?[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)$/;
const MAX_LABEL = 63; // RFC 1035 section 2.3.4
const MAX_NAME = 255;

/** True for one DNS label (RFC 1123), in either case. */
export function isDnsLabel(text: string): boolean {
  return text.length <= MAX_LABEL && LABEL.test(text);
}

/** A full name without wildcards; a trailing dot is allowed. */
export function nameProblem(name: string): string | null {
  return lengthProblem(name) ?? labelsProblem(name, name);
}

/** A name whose first label may be, or start with, a wildcard: `*`, `*.example.com`. */
export function wildcardNameProblem(name: string): string | null {
  const length = lengthProblem(name);
  if (length) return length;
  const dot = name.indexOf('.');
  const first = dot < 0 ? name : name.slice(0, dot);
  if (first.length > MAX_LABEL || !WILDCARD_LABEL.test(first)) return badLabel(name, first);
  return dot < 0 ? null : labelsProblem(name.slice(dot + 1), name);
}

/** A trust domain: dot-separated labels. */
export function trustDomainProblem(name: string): string | null {
  if (name === '') return 'is empty; write a name such as cluster.local';
  const labels = name.split('.');
  if (labels.length > 1 && labels[labels.length - 1] === '') labels.pop();
  const wrong = labels.find(label => !isDnsLabel(label));
  return wrong === undefined ? null : badLabel(name, wrong);
}

function lengthProblem(name: string): string | null {
  if (name === '') return 'is empty; write a host name';
  return name.length > MAX_NAME ? `${quote(name)} has more than ${MAX_NAME} characters` : null;
}

function labelsProblem(name: string, whole: string): string | null {
  const labels = name.split('.');
  const last = labels[labels.length - 1] ?? '';
  if (/^[-+]?[0-9]+$/.test(last))
    return `${quote(whole)} is not a host name: ${quote(last)} at its end is a number`;
  if (last === '') labels.pop();
  const wrong = labels.find(label => !isDnsLabel(label));
  return wrong === undefined ? null : badLabel(whole, wrong);
}

function badLabel(name: string, label: string): string {
  return `${quote(name)} is not a DNS name: ${quote(label)} is not a valid label (letters, digits, inner "-")`;
}
