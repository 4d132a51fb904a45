/** How a process that must end at once says why. */
import { tell } from './read-write.ts'

let say = (error: Error): void => tell(error.message)

/** `words` say it instead of a line on standard error; they may end the process themselves. */
export const setLastWords = (words: (error: Error) => void): void => {
  say = words
}

/** Ends the process without running anything else of it: no `finally`, no handler. */
export function endNow(error: Error): never {
  try {
    say(error)
  } finally {
    process.kill(process.pid, 'SIGKILL')
  }
  throw error // not reached
}
