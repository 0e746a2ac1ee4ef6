/** Header lists as fast-check makes them: few names and values that come again, and others that do not. */
import fc from 'fast-check';
import { INDEX, NEVER, NO_INDEX } from '../../src/http/hpack-encoder.ts';

export type Sent = readonly [name: string, value: string, how: number];

const NAME_CHARS = [...'abcdefghijklmnopqrstuvwxyz0123456789-_.!~'];
const VALUE_CHARS = Array.from({ length: 256 }, (_, c) => String.fromCharCode(c)).filter(
  char => char === '\t' || (char >= ' ' && char !== '\x7f'),
);

const text = (chars: readonly string[], minLength: number, maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...chars), minLength, maxLength });

/** Names that a request and a response may have, known to the static table and not. */
const names = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom('accept', 'x-a', 'x-b', 'x-trace', 'cache-control', 'etag', 'x-user'),
  },
  { weight: 1, arbitrary: text(NAME_CHARS, 1, 60).map(name => `x${name}`) },
);
const values = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom('', 'gzip, deflate', '1', 'no-cache', 'a'.repeat(100), '\xe9t\xe9'),
  },
  { weight: 2, arbitrary: text([...'0123456789abcdef'], 8, 130) },
  { weight: 2, arbitrary: text(VALUE_CHARS, 0, 300).map(value => value.trim()) },
  { weight: 1, arbitrary: text([...'abc'], 1000, 5000) },
);
const hows = fc.constantFrom(INDEX, INDEX, INDEX, NO_INDEX, NEVER);

export const headerLists: fc.Arbitrary<readonly Sent[]> = fc.array(fc.tuple(names, values, hows), {
  maxLength: 20,
});

/** Any strings whatever, latin1. */
const anyText = fc.oneof(
  fc.constantFrom('', 'A', ':path', 'cookie', '\0'),
  text(
    Array.from({ length: 256 }, (_, c) => String.fromCharCode(c)),
    0,
    200,
  ),
);
export const anyLists: fc.Arbitrary<readonly Sent[]> = fc.array(fc.tuple(anyText, anyText, hows), {
  maxLength: 20,
});
