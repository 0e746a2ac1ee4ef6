/** The chains put in force by Outrider itself, over NETLINK_NETFILTER: its image has no nft and no iptables. */

import {
  ENOENT,
  EOPNOTSUPP,
  exchange,
  type NetlinkMessage,
  type Refusal,
  refusalText,
} from '../net/netlink.ts';
import { type NetlinkSocket, openNetlink } from '../net/netlink-socket.ts';
import { addChain, addRule, addTable, batch, deleteTable, expressionAt } from '../net/nf-tables.ts';
import { type Chain, chainsOf, TABLE } from './capture-chains.ts';
import { compile } from './capture-expressions.ts';
import { ruleText } from './capture-nft.ts';
import type { CaptureRules } from './capture-rules.ts';

const NETLINK_NETFILTER = 12;
/** Of nft, for both families. */
const PRIORITY = { mangle: -150, dstnat: -100 } as const;
/** Expressions that are modules of their own; the others are part of nf_tables. */
const MODULE_OF: Readonly<Record<string, string>> = {
  ct: 'nft_ct',
  redir: 'nft_redir',
  tproxy: 'nft_tproxy',
};

const LONGEST_RULE = 120; // characters

interface Step {
  readonly message: NetlinkMessage;
  /** What errors call it. */
  readonly what: string;
}

/**
 * All at once, whatever was there before, or nothing.
 * @param rules null = what is there goes away
 * @throws Unavailable, or an Error of one line that says what was refused and what to do
 */
export function enforceByNetlink(
  rules: CaptureRules | null,
  open: () => NetlinkSocket = () => openNetlink(NETLINK_NETFILTER, 'NETLINK_NETFILTER'),
): void {
  const steps = stepsOf(rules === null ? null : chainsOf(rules));
  const socket = open();
  try {
    const refusal = exchange(socket, batch(steps.map(({ message }) => message)));
    if (refusal === null) return;
    // A kernel that knows no tables has none to take away.
    if (rules === null && isUnknown(refusal)) return;
    throw new Error(`netlink: ${refused(refusal, steps[refusal.index - 1])}`);
  } finally {
    socket.close();
  }
}

function stepsOf(chains: readonly Chain[] | null): Step[] {
  const what = `table inet ${TABLE}`;
  const add: Step = { message: addTable(TABLE), what };
  // Made when it was not there, so that it can go.
  const gone: Step[] = [add, { message: deleteTable(TABLE), what }];
  return chains === null ? gone : [...gone, add, ...chains.map(chainStep), ...ruleSteps(chains)];
}

function chainStep({ name, type, hook, priority }: Chain): Step {
  const number = typeof priority === 'number' ? priority : PRIORITY[priority];
  return {
    message: addChain(TABLE, { name, type, hook, priority: number }),
    what: `chain ${name} of type ${type}`,
  };
}

function ruleSteps(chains: readonly Chain[]): Step[] {
  let sets = 0;
  return chains.flatMap(({ name, rules }) =>
    rules.flatMap(rule => {
      const what = `the rule '${shortened(ruleText(rule))}' of chain ${name}`;
      const compiled = compile(rule, () => ++sets);
      const messages = [...compiled.sets, addRule(TABLE, name, compiled.expressions)];
      return messages.map(message => ({ message, what }));
    }),
  );
}

/** A line is for a person; the ports of a rule may be thousands. */
function shortened(text: string): string {
  return text.length <= LONGEST_RULE ? text : `${text.slice(0, LONGEST_RULE)}…`;
}

function isUnknown({ errno }: Refusal): boolean {
  return errno === EOPNOTSUPP || errno === ENOENT;
}

/** @param step null-ish: the batch as a whole */
function refused(refusal: Refusal, step: Step | undefined): string {
  const missing = isUnknown(refusal) ? `; the kernel has no ${missingFor(refusal, step)}` : '';
  return `${step === undefined ? '' : `${step.what}: `}${refusalText(refusal)}${missing}`;
}

/** What the kernel would need to be built with, or a module to load. */
function missingFor({ offset }: Refusal, step: Step | undefined): string {
  if (step === undefined) return 'nf_tables (CONFIG_NF_TABLES)';
  if (step.what.startsWith('table')) return 'nf_tables for both families (CONFIG_NF_TABLES_INET)';
  if (step.what.startsWith('chain')) return 'nft_chain_nat for both families (Linux 5.2)';
  const name = offset === null ? null : expressionAt(step.message.body, offset);
  if (name !== null) return MODULE_OF[name] ?? `expression ${name} in nf_tables`;
  return `module that it takes (one of ${Object.values(MODULE_OF).join(', ')})`;
}
