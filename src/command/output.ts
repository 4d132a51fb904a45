/** Output for people: tables, colours on a terminal, progress, errors. */

const CODES = { red: 31, green: 32, yellow: 33, bold: 1, dim: 2 }
export type Style = keyof typeof CODES

/** `NO_COLOR`: see no-color.org. */
const hasColour = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb'

/** `text` in a colour where standard output is a terminal. */
export const styled = (style: Style, text: string): string => (hasColour ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text)

export function print(text: string): number {
  process.stdout.write(text)
  return 0
}

export const printJson = (value: unknown): number => print(`${JSON.stringify(value, null, 2)}\n`)

/** Lines with columns of equal width; `titles` is the first line. */
export function table(titles: string[], rows: string[][]): string {
  const widths = titles.map((title, at) => Math.max(title.length, ...rows.map(row => row[at]!.length)))
  const line = (cells: string[]) =>
    cells
      .map((cell, at) => cell.padEnd(widths[at]!))
      .join('  ')
      .trimEnd()
  return [styled('bold', line(titles)), ...rows.map(line), ''].join('\n')
}

/** Writes a line to the terminal's standard error in the place of the last one; '' clears it. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

/** `tunlink ls: what is wrong; hint`, in one line. */
export function printError(command: string, { message, hint }: { message: string; hint?: string | undefined }): void {
  progress('')
  process.stderr.write(`tunlink ${command}: ${message.replaceAll('\n', ' ')}${hint === undefined ? '' : `; ${hint}`}\n`)
}

const PREFIXES = ['', 'k', 'M', 'G', 'T']

/** `12.3 Mbit/s`, `4 kpacket/s`: three digits, with a prefix of the SI. */
export function quantity(value: number, unit: string): string {
  let [rest, at] = [value, 0]
  for (; rest >= 999.5 && at < PREFIXES.length - 1; at++) rest /= 1000
  return `${rest >= 100 || at === 0 ? Math.round(rest) : rest.toPrecision(3)} ${PREFIXES[at]}${unit}`
}
