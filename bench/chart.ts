/** Results as an SVG: for each headline one panel of bars, a bar a peer, on the panel's own scale from zero. */
import type { Headline } from './cases/case.ts';
import type { PeerName } from './peers/peer.ts';
import type { CaseResult, Results } from './results.ts';
import { short } from './table.ts';

const COLOURS: Readonly<Record<PeerName, string>> = {
  outrider: '#0b6e4f',
  nginx: '#8d99ae',
  haproxy: '#6c7a93',
  envoy: '#b0b7c6',
  nghttpx: '#9fb8ad',
};
const WIDTH = 460; // one panel
const COLUMNS = 2;
const NAME_WIDTH = 70;
const NUMBER_WIDTH = 60;
const ROW = 20;
const BAR = 14;
const TITLE = 26;
const GAP = 18;
const TOP = 44;
const SCALE = WIDTH - NAME_WIDTH - NUMBER_WIDTH - GAP;

interface Panel {
  readonly title: string;
  readonly bars: readonly { readonly peer: PeerName; readonly value: number }[];
}

/** A whole SVG document; shorter bars are better in every panel. */
export function toSvg(results: Pick<Results, 'cases'>): string {
  const panels = results.cases.flatMap(one => one.headlines.map(headline => panelOf(one, headline)));
  const drawn = panels.filter(panel => panel.bars.length > 0);
  const height = Math.max(0, ...drawn.map(panel => TITLE + panel.bars.length * ROW)) + GAP;
  const rows = Math.ceil(drawn.length / COLUMNS);
  const body = drawn.map((panel, index) => {
    const x = GAP + (index % COLUMNS) * WIDTH;
    const y = TOP + Math.floor(index / COLUMNS) * height;
    return `<g transform="translate(${x} ${y})">${draw(panel)}</g>`;
  });
  const size = { width: GAP + COLUMNS * WIDTH, height: TOP + rows * height };
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" width="${size.width}" height="${size.height}" font-family="sans-serif" font-size="12" role="img">
<title>Outrider and its peers: medians, shorter is better</title>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="${GAP}" y="24" font-size="15" font-weight="bold" fill="#222222">Medians, one worker each: shorter is better</text>
${body.join('\n')}
</svg>
`;
}

function panelOf(one: CaseResult, headline: Headline): Panel {
  const bars = one.peers.flatMap(({ peer, medians }) => {
    const value = medians[headline.metric];
    return value === undefined ? [] : [{ peer, value }];
  });
  return { title: `${one.name}: ${headline.unit}`, bars };
}

/** A value below zero (a latency that was lower than without the proxy) has no bar, only its number. */
function draw({ title, bars }: Panel): string {
  const longest = Math.max(...bars.map(bar => bar.value), Number.MIN_VALUE);
  const lines = bars.map(({ peer, value }, index) => {
    const y = TITLE - 10 + index * ROW;
    const length = ((Math.max(0, value) / longest) * SCALE).toFixed(1);
    return [
      `<text x="${NAME_WIDTH - 8}" y="${y + 11}" text-anchor="end" fill="#333333">${peer}</text>`,
      `<rect x="${NAME_WIDTH}" y="${y}" width="${length}" height="${BAR}" fill="${COLOURS[peer]}"/>`,
      `<text x="${NAME_WIDTH + Number(length) + 6}" y="${y + 11}" fill="#333333">${short(value)}</text>`,
    ].join('');
  });
  return `<text y="8" font-weight="bold" fill="#222222">${escaped(title)}</text>${lines.join('')}`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
