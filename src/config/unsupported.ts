import type { Place } from './node.ts';

/** Takes what a policy asks for and Outrider does not evaluate yet: the policy is refused, never half-applied. */
export type Unsupported = (place: Place, what: string) => void;
