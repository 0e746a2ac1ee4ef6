/** The marked part of README.md that a run writes. */

const START = '<!-- results:start (written by `npm run bench -- --write-readme`) -->';
const END = '<!-- results:end -->';

/** The README with everything between the two comments replaced. Throws when they are not there, in order. */
export function withResults(readme: string, markdown: string): string {
  const from = readme.indexOf(START);
  const to = readme.indexOf(END);
  if (from < 0 || to < from) throw new Error('README.md lacks the comments that mark where the results go');
  return `${readme.slice(0, from + START.length)}\n\n${markdown.trim()}\n\n${readme.slice(to)}`;
}
