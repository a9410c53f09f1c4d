package web_test

import "os"

// screenshots is the folder for pictures of the pages; empty: none are made.
func screenshots() string {
	return os.Getenv("TOCSIN_SCREENSHOTS") //nolint:forbidigo // of the tests alone
}
