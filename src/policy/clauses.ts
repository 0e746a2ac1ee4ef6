/** From the values of one manifest field to a clause. Pure translation: what is asked of which attribute, and how. */
import { type Block, parseBlock } from './address.ts';
import { addressSet } from './address-set.ts';
import { compileRequestPrincipals } from './claims.ts';
import { compileAccounts, compileNamespaces, compileTrustDomains } from './identity-patterns.ts';
import type { ConnectionClause, RequestClause } from './match.ts';
import { isPathTemplate } from './path-template.ts';
import type { HeaderSlots } from './reading.ts';
import type { FieldValues } from './rule-fields.ts';
import type { Subject } from './subject.ts';
import { compileText, type TextOptions } from './text.ts';
import { expandTrustDomain, expandTrustDomains } from './trust-domain.ts';

/** What all clauses of a rule set are compiled with. */
export interface ClauseContext {
  /** The mesh's trust domain, then its aliases. */
  readonly trustDomains: readonly string[];
  readonly slots: HeaderSlots;
}

/** What the rule is compiled for. */
export interface ClauseUse {
  /** There are no requests. */
  readonly tcp: boolean;
  /** Where the policy lives, which a service account without a namespace means. */
  readonly namespace: string;
}

/** A field that asks for something Outrider decides on. */
export interface KnownField extends FieldValues {
  readonly subject: Subject;
}

export type CompiledClause =
  | { readonly on: 'connection'; readonly clause: ConnectionClause }
  | { readonly on: 'request'; readonly clause: RequestClause };

interface Compiled {
  /** null when no value is left. */
  readonly compiled: CompiledClause | null;
  /** What is wrong with values that mean nothing: a CIDR block or port that does not parse. */
  readonly bad: readonly string[];
}

/** Compiles the values of a field, without those that mean nothing. */
export function compileClause(given: KnownField, context: ClauseContext, use: ClauseUse): Compiled {
  const { subject, field, values, negated } = given;
  const named = { field, wants: values, negated };
  switch (subject.on) {
    case 'connection':
      return compileConnection(subject.attribute, named, context, use);
    case 'remoteIp': {
      const { read, bad } = readable(values, parseBlock);
      if (read.length === 0) return { compiled: null, bad };
      const addresses = addressSet(read);
      // Without requests there is nobody to have forwarded one.
      return use.tcp
        ? { compiled: onConnection({ ...named, attribute: 'sourceIp', addresses }), bad }
        : { compiled: onRequest({ ...named, cost: 7, attribute: 'remoteIp', addresses }), bad };
    }
    default:
      return { compiled: onRequest(compileRequest(subject, named, context.slots)), bad: [] };
  }
}

type Named = Pick<ConnectionClause, 'field' | 'wants' | 'negated'>;

function compileConnection(
  attribute: ConnectionClause['attribute'],
  named: Named,
  { trustDomains }: ClauseContext,
  { namespace }: ClauseUse,
): Compiled {
  const { wants: values } = named;
  switch (attribute) {
    case 'principal': {
      const wants = expandTrustDomains(values, trustDomains);
      const text = compileText(wants, { presence: 'any' });
      return whole({ ...named, wants, attribute, text });
    }
    case 'namespace':
      return whole({ ...named, attribute, namespaces: compileNamespaces(values) });
    case 'serviceAccount':
      return whole({ ...named, attribute, accounts: compileAccounts(values, namespace) });
    case 'trustDomain': {
      const wants = expandTrustDomain(values, trustDomains);
      return whole({ ...named, wants, attribute, domains: compileTrustDomains(wants) });
    }
    case 'sni':
      return whole({ ...named, attribute, text: compileText(values, { presence: 'nonEmpty' }) });
    case 'sourceIp':
    case 'destinationIp': {
      const { read, bad } = readable(values, parseBlock);
      if (read.length === 0) return { compiled: null, bad };
      return { compiled: onConnection({ ...named, attribute, addresses: addressSet(read) }), bad };
    }
    case 'port': {
      const { read, bad } = readable(values, parsePort);
      if (read.length === 0) return { compiled: null, bad };
      return { compiled: onConnection({ ...named, attribute, ports: new Set(read) }), bad };
    }
  }
}

function compileRequest(
  subject: Exclude<Subject, { readonly on: 'connection' | 'remoteIp' }>,
  named: Named,
  slots: HeaderSlots,
): RequestClause {
  const { wants: values } = named;
  switch (subject.on) {
    case 'request': {
      const { attribute } = subject;
      const text = compileText(values, TEXT_OPTIONS[attribute]);
      return { ...named, cost: textCost(attribute, values), attribute, text };
    }
    case 'header': {
      const { header } = subject;
      const text = compileText(values, { presence: 'any' });
      return { ...named, cost: 5, attribute: 'header', text, header, slot: slots.slotOf(header) };
    }
    case 'claim': {
      const text = compileText(values, { presence: 'nonEmpty', unicode: true });
      return { ...named, cost: 6, attribute: 'claim', text, path: subject.path };
    }
    case 'requestPrincipal': {
      const principals = compileRequestPrincipals(values);
      return { ...named, cost: 4, attribute: 'requestPrincipal', principals };
    }
  }
}

const TEXT_OPTIONS: Readonly<Record<'method' | 'host' | 'authority' | 'path' | 'target', TextOptions>> = {
  method: { presence: 'any' },
  host: { presence: 'any', foldCase: true },
  authority: { presence: 'any' },
  path: { presence: 'nonEmpty', templates: true },
  target: { presence: 'any' },
};

function textCost(attribute: keyof typeof TEXT_OPTIONS, values: readonly string[]): number {
  if (attribute === 'method') return 0;
  if (attribute === 'path' && values.some(isPathTemplate)) return 3;
  if (attribute === 'target') return 6;
  return values.some(value => value.includes('*')) ? 2 : 1;
}

/** Go's ParseUint: digits only, leading zeros allowed. */
function parsePort(text: string): number | null {
  return /^\d+$/.test(text) && Number(text) <= 65_535 ? Number(text) : null;
}

interface Readable<T> {
  readonly read: readonly T[];
  readonly bad: readonly string[];
}

function readable<T extends Block | number>(
  values: readonly string[],
  parse: (text: string) => T | null,
): Readable<T> {
  const read: T[] = [];
  const bad: string[] = [];
  for (const value of values) {
    const parsed = parse(value);
    if (parsed === null) bad.push(`cannot read ${JSON.stringify(value)}`);
    else read.push(parsed);
  }
  return { read, bad };
}

function onConnection(clause: ConnectionClause): CompiledClause {
  return { on: 'connection', clause };
}

function onRequest(clause: RequestClause): CompiledClause {
  return { on: 'request', clause };
}

function whole(clause: ConnectionClause): Compiled {
  return { compiled: onConnection(clause), bad: [] };
}
