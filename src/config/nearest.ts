/** The known word that was probably meant: at most two letters away, or the same in another case. */
export function nearest(word: string, known: Iterable<string>): string | null {
  let best: string | null = null;
  let distance = 3;
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= distance) continue;
    const found = edits(word.toLowerCase(), candidate.toLowerCase());
    if (found < distance) {
      best = candidate;
      distance = found;
    }
  }
  return best !== null && best.length > 2 ? best : null;
}

/** Levenshtein distance. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
