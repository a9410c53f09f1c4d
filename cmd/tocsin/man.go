package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/seed91453169/tocsin/config"
)

// manCommand prints the manual page.
type manCommand struct{}

// Help is printed below the usage.
func (manCommand) Help() string { return "To read it: tocsin man | man -l -" }

// Run prints the page in the language of man: all commands, and the environment.
func (manCommand) Run(t *terminal, app *kong.Application) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH TOCSIN 1 \"\" \"tocsin %s\"\n", roff(version()))
	b.WriteString(".SH NAME\ntocsin \\- " + roff(app.Help) + "\n")
	b.WriteString(".SH SYNOPSIS\n.B tocsin\n.I command\n[arguments]\n.SH COMMANDS\n")
	for _, leaf := range app.Leaves(true) {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(leaf.Summary()), roff(leaf.Help))
		if leaf.Detail != "" {
			fmt.Fprintf(&b, ".br\n%s\n", roff(leaf.Detail))
		}
		for _, p := range leaf.Positional {
			fmt.Fprintf(&b, ".br\n.I %s\n%s\n", roff(p.Name), roff(p.Help))
		}
		for _, f := range leaf.Flags {
			if f.Name != "help" {
				fmt.Fprintf(&b, ".br\n.B \\-\\-%s\n%s\n", roff(f.Name), roff(f.Help))
			}
		}
	}
	b.WriteString(".SH ENVIRONMENT\nAny NAME may come as NAME_FILE, the path of a file with the value.\n")
	for _, v := range config.Variables() {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", v.Name, roff(v.About))
	}
	b.WriteString(`.SH EXIT STATUS
.TP
0
The command did what it was asked for.
.TP
1
Something failed.
.TP
2
The configuration or the command line is wrong.
`)
	_, err := io.WriteString(t.out, b.String())
	return err
}

// roff escapes a text for man, in which a hyphen, a backslash, and a point or an apostrophe at the beginning of a line
// mean something.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...").Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
