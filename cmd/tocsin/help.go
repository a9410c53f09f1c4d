package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/seed91453169/tocsin/config"
)

// helpCommand stands for "tocsin help", which run reads as --help.
type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command; left out: all commands."`
}

// Run is not called: see helpArguments.
func (helpCommand) Run() error { return nil }

// helpArguments turns "help user add" into "user add --help".
func helpArguments(args []string) []string {
	if len(args) == 0 || args[0] != "help" || slices.Contains(args, "--help") {
		return args
	}
	return append(slices.Clone(args[1:]), "--help")
}

// Help is printed below the commands: the environment variables.
func (*commands) Help() string {
	var b strings.Builder
	b.WriteString("Settings come from the environment. " +
		"Any NAME may come as NAME_FILE, the path of a file with the value.\n\n")
	for _, v := range config.Variables() {
		fmt.Fprintf(&b, "  %-32s %s\n", v.Name, v.About)
	}
	return b.String()
}

// completionCommand prints a script that completes command lines in a shell: it asks "tocsin complete" for the words.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"One of ${enum}."`
}

// Help is printed below the usage.
func (completionCommand) Help() string {
	return `For this session: source <(tocsin completion bash). For all of them, put the output where the shell looks:
/etc/bash_completion.d/tocsin, _tocsin in a folder of zsh's fpath, or ~/.config/fish/completions/tocsin.fish.`
}

var completions = map[string]string{
	"bash": `_tocsin() {
	local IFS=$'\n'
	COMPREPLY=($(tocsin complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _tocsin tocsin
`,
	"zsh": `#compdef tocsin
_tocsin() {
	local -a found
	found=("${(@f)$(tocsin complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	[[ -n "$found" ]] && compadd -a found || _files
}
if [ "$funcstack[1]" = "_tocsin" ]; then _tocsin "$@"; else compdef _tocsin tocsin; fi
`,
	"fish": `complete -c tocsin -f -a '(tocsin complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

// Run prints the script.
func (c completionCommand) Run(t *terminal) error {
	_, err := io.WriteString(t.out, completions[c.Shell])
	return err
}

// completeCommand prints the words that may be at the end of a command line.
type completeCommand struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints one word a line.
func (c completeCommand) Run(t *terminal, app *kong.Application) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, w := range candidates(app.Node, words) {
		if _, err := fmt.Fprintln(t.out, w); err != nil {
			return err
		}
	}
	return nil
}

// candidates are the words that the last one of words, which may be empty, may become.
func candidates(node *kong.Node, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	for _, w := range before {
		for _, child := range node.Children {
			if child.Name == w {
				node = child
				break
			}
		}
	}
	var out []string
	for _, child := range node.Children {
		if !child.Hidden {
			out = append(out, child.Name)
		}
	}
	for _, p := range node.Positional {
		if p.Enum != "" {
			out = append(out, strings.Split(p.Enum, ",")...)
		}
	}
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			if len(before) > 0 && before[len(before)-1] == "--"+f.Name && !f.IsBool() {
				out = nil
				if f.Enum != "" {
					out = strings.Split(f.Enum, ",")
				}
				return beginningWith(out, last)
			}
			if strings.HasPrefix(last, "-") {
				out = append(out, "--"+f.Name)
			}
		}
	}
	return beginningWith(out, last)
}

func beginningWith(words []string, beginning string) []string {
	return slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, beginning) })
}
