package main

import (
	"fmt"
	"runtime/debug"
)

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(t *terminal) error {
	_, err := fmt.Fprintln(t.out, "tocsin", version())
	return err
}

// release is set by the linker: -ldflags "-X main.release=v1.2.3".
var release string

// version returns the release, or else the commit or module version of the build.
func version() string {
	if release != "" {
		return release
	}
	info, found := debug.ReadBuildInfo()
	if !found {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "development, commit " + s.Value[:min(12, len(s.Value))]
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "development"
}
