/** A bar for each ratio, as SVG: the peer is the line at 1. */
import type { Row } from './measure.ts'

const WIDTH = 760
const LABEL = 300
const BAR = 18
const GAP = 8

/** `better` says which side of the line is good. */
export function plot(title: string, better: 'lower' | 'higher', rows: Row[]): string {
  const most = Math.max(1.2, ...rows.map(({ ratio }) => ratio!))
  const scale = (WIDTH - LABEL - 70) / most
  const height = 56 + rows.length * (BAR + GAP)
  const bars = rows.map(({ what, peer, ratio }, index) => {
    const y = 44 + index * (BAR + GAP)
    const good = better === 'lower' ? ratio! <= 1 : ratio! >= 1
    return [
      `<text x="${LABEL - 8}" y="${y + 13}" text-anchor="end">${xml(`${what} / ${peer}`)}</text>`,
      `<rect x="${LABEL}" y="${y}" width="${(ratio! * scale).toFixed(1)}" height="${BAR}" fill="${good ? '#2a7f62' : '#b5651d'}"/>`,
      `<text x="${(LABEL + ratio! * scale + 6).toFixed(1)}" y="${y + 13}">${ratio!.toFixed(2)}</text>`,
    ].join('')
  })
  const one = (LABEL + scale).toFixed(1)
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">
<title>${xml(title)}</title>
<rect width="100%" height="100%" fill="white"/>
<text x="12" y="22" font-size="15">${xml(title)} (${better} is better; the line is the peer)</text>
${bars.join('\n')}
<line x1="${one}" y1="36" x2="${one}" y2="${height - 8}" stroke="black" stroke-dasharray="3 3"/>
</svg>
`
}

const xml = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;')
