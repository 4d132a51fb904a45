/** `tunlink completion`. */
import { type Command, usageError } from './command.ts'
import { COMMANDS } from './main.ts'
import { print } from './output.ts'

export const command: Command = {
  usage: 'completion bash|zsh',
  about: `Prints what a shell needs to complete commands, options and links.
  bash: source <(tunlink completion bash)
  zsh:  source <(tunlink completion zsh), after compinit`,
  takesWords: true,
  options: {},
  async run({ words: [shell] }) {
    if (shell === 'bash') return print(bash(await optionsByCommand()))
    if (shell === 'zsh') return print(zsh(await optionsByCommand()))
    throw usageError(shell === undefined ? 'the shell is missing' : `there is no completion for "${shell}"`, 'say bash or zsh')
  },
}

/** Commands whose first word is a link. */
const OF_LINKS = 'show|capture|down'

async function optionsByCommand(): Promise<[name: string, options: string][]> {
  const names = Object.keys(COMMANDS)
  const commands = await Promise.all(names.map(name => COMMANDS[name]!.load()))
  return commands.map(({ command }, at) => [names[at]!, [...Object.keys(command.options), 'help'].map(option => `--${option}`).join(' ')])
}

const cases = (options: [string, string][], line: (words: string) => string) =>
  options.map(([name, words]) => `    ${name}) ${line(words)} ;;\n`).join('')

const bash = (options: [string, string][]) => `# bash completion for tunlink
_tunlink() {
  local word=\${COMP_WORDS[COMP_CWORD]} words
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "${options.map(([name]) => name).join(' ')}" -- "$word"))
    return
  fi
  case \${COMP_WORDS[1]} in
    help) words="${options.map(([name]) => name).join(' ')}" ;;
    completion) words="bash zsh" ;;
    ${OF_LINKS}) [[ $word == -* ]] || words=$(tunlink ls -o name 2>/dev/null) ;;
  esac
  [[ $word == -* ]] && case \${COMP_WORDS[1]} in
${cases(options, words => `words="${words}"`)}  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _tunlink tunlink
`

const zsh = (options: [string, string][]) => `#compdef tunlink
_tunlink() {
  local -a words_of
  if (( CURRENT == 2 )); then
    words_of=(${options.map(([name]) => name).join(' ')})
    compadd -a words_of
    return
  fi
  if [[ $PREFIX == -* ]]; then
    case $words[2] in
${cases(options, words => `words_of=(${words})`)}    esac
    compadd -a words_of
    return
  fi
  case $words[2] in
    help) words_of=(${options.map(([name]) => name).join(' ')}) ;;
    completion) words_of=(bash zsh) ;;
    ${OF_LINKS}) words_of=(\${(f)"$(tunlink ls -o name 2>/dev/null)"}) ;;
  esac
  (( $#words_of )) && compadd -a words_of || _files
}
compdef _tunlink tunlink
`
