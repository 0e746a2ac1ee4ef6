/**
 * Warnings beyond Istio's: policies that are each in order and cannot do what they seem to. Only what is certain from the
 * files is said, one line each, at the field.
 */
import { warnOfAbsent } from './absent-warnings.ts';
import { warnOfProviders } from './custom-warnings.ts';
import type { SectionsOf } from './document.ts';
import type { GivenWorkload } from './policy-scope.ts';
import type { Resources } from './resources.ts';
import { endpointWorkloads, warnOfSelectors } from './selector-warnings.ts';
import { warnOfHttpOnTcp, warnOfWideDeny } from './tcp-warnings.ts';
import { warnOfUnasked, warnOfUnverified } from './token-warnings.ts';
import { warnOfUnreachable } from './unreachable-rules.ts';
import { warnOfValues } from './value-warnings.ts';

export interface PolicyFacts {
  /** All of the files, without errors. */
  readonly resources: Resources;
  /** Where each policy, rule, source, operation and condition was read; takes the warnings. */
  readonly sections: SectionsOf;
  /** WorkloadEntries, or the one workload of the flags. Endpoints of ServiceEntries are added unless `only`. */
  readonly workloads: readonly GivenWorkload[];
  readonly only: boolean;
}

/** Reports what the policies cannot do, into the reports of their sections. */
export function policyWarnings({ resources, sections, workloads: given, only }: PolicyFacts): void {
  const workloads = only ? given : [...given, ...endpointWorkloads(resources.serviceEntries)];
  warnOfWideDeny({ resources, sections });
  warnOfHttpOnTcp({ resources, sections });
  warnOfValues(resources, sections);
  warnOfAbsent(resources, sections);
  warnOfUnreachable(resources, sections);
  warnOfSelectors({ resources, sections, workloads });
  warnOfProviders({ resources, sections, workloads });
  warnOfUnverified(resources, sections);
  warnOfUnasked(resources, sections);
}
