/** Lines of a stream of bytes, without reading more of it than one line at a time. */

/** A longer line is no line of an access log; its end is given without what came before. */
const MAX_LINE = 1_048_576;

/** The lines of `input` as UTF-8 text, without their ends; null = one that is too long. */
export async function* linesOf(input: AsyncIterable<unknown>): AsyncGenerator<string | null> {
  let rest = '';
  let tooLong = false;
  const decoder = new TextDecoder();
  for await (const chunk of input) {
    rest += typeof chunk === 'string' ? chunk : decoder.decode(chunk as Uint8Array, { stream: true });
    let start = 0;
    for (let end = rest.indexOf('\n'); end !== -1; end = rest.indexOf('\n', start)) {
      yield tooLong ? null : withoutReturn(rest.slice(start, end));
      tooLong = false;
      start = end + 1;
    }
    rest = rest.slice(start);
    if (rest.length > MAX_LINE) {
      tooLong = true;
      rest = '';
    }
  }
  if (tooLong) yield null;
  else if (rest !== '') yield withoutReturn(rest);
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}
