/**
 * What a bare word in a manifest means. Istio and Kubernetes read YAML 1.1 as Go's decoder does: `y`, `no`, `on` and
 * `NO` are booleans, `017` is octal, `12_000` a number; dates and sexagesimals (`12:30`) stay strings.
 */

const NULLS = new Set(['', '~', 'null', 'Null', 'NULL']);
const TRUES = new Set(['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON']);
const FALSES = new Set(['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF']);
const SPECIAL: ReadonlyMap<string, number> = new Map(
  ['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF']
    .map((word): [string, number] => [word, Number.POSITIVE_INFINITY])
    .concat(['-.inf', '-.Inf', '-.INF'].map(word => [word, Number.NEGATIVE_INFINITY]))
    .concat(['.nan', '.NaN', '.NAN'].map(word => [word, Number.NaN])),
);

const DECIMAL = /^[-+]?(?:0|[1-9][0-9]*)$/;
const PREFIXED = /^([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+)$/;
const OLD_OCTAL = /^([-+]?)0([0-7]+)$/;
const FLOAT = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;

/** The value of an unquoted scalar. */
export function plainValue(text: string): string | number | boolean | null {
  if (NULLS.has(text)) return null;
  if (TRUES.has(text)) return true;
  if (FALSES.has(text)) return false;
  if (!/^[-+.0-9]/.test(text)) return text;
  return SPECIAL.get(text) ?? numberOf(text.replaceAll('_', '')) ?? text;
}

function numberOf(text: string): number | null {
  if (DECIMAL.test(text)) return Number(text);
  const prefixed = PREFIXED.exec(text);
  if (prefixed) return signed(prefixed[1], Number(prefixed[2]));
  const octal = OLD_OCTAL.exec(text);
  if (octal) return signed(octal[1], Number.parseInt(octal[2] ?? '', 8));
  return FLOAT.test(text) && Number.isFinite(Number(text)) ? Number(text) : null; // 1e400 stays a string, as in Go
}

function signed(sign: string | undefined, value: number): number {
  return sign === '-' ? -value : value;
}
