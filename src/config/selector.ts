import { quote } from './quote.ts';
import type { Selector } from './resources.ts';
import type { Item, Section } from './section.ts';

const MAX_LABELS = 4_096; // Istio's custom resource definitions
const MAX_VALUE = 63;

/** `selector.matchLabels` of the security kinds and DestinationRule's `workloadSelector.matchLabels`. */
export function readSelector(owner: Section, field: string, labelsField = 'matchLabels'): Selector {
  const selector = owner.section(field);
  if (!selector) return null;
  const labels = selector.textMap(labelsField);
  selector.close();
  if (!selector.hasEntries(labelsField)) {
    owner.warning(field, `has no ${labelsField}; it selects every workload, as if it were absent`);
    return null;
  }
  if (!labels) return null;
  if (labels.size > MAX_LABELS) selector.error(labelsField, `has more than ${MAX_LABELS} labels`);
  for (const [key, item] of labels) checkLabel(key, item, owner);
  return Object.fromEntries(Array.from(labels, ([key, { value }]) => [key, value]));
}

function checkLabel(key: string, { value, place, path }: Item, { report }: Section): void {
  if (key === '') report.error(place, `${path}: a label has a name; the key is empty`);
  if (key.includes('*') || value.includes('*')) {
    report.error(
      place,
      `${path}: selectors take no wildcard (${quote(`${key}=${value}`)}); name the label's whole value`,
    );
  }
  if ([...value].length > MAX_VALUE) report.error(place, `${path}: has more than ${MAX_VALUE} characters`);
}
