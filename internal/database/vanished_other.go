//go:build !linux

package database

import "syscall"

// boundSilence does nothing where there is no such setting.
func boundSilence(string, string, syscall.RawConn) error { return nil }
