// Command bench measures Tocsin beside others on this machine: it starts PostgreSQL, Redis and a receiver, runs the
// real binaries and the peers in turn, several rounds of them, and prints medians and ratios. Only the ratios say
// something about another machine.
//
//	go run . -binary ../bin/tocsin -figures import,accept -rounds 3
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// bench is one run of this command.
type bench struct {
	binary, baseline       string
	rows, messages, rounds int
	workers, stored, title int
	idleTime               time.Duration
	dir                    string
	pg                     *postgres
	out                    io.Writer
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	b := &bench{out: os.Stdout}
	names := make([]string, len(figures))
	for i, f := range figures {
		names[i] = f.name
	}
	flag.StringVar(&b.binary, "binary", "../bin/tocsin", "the tocsin that is measured")
	flag.StringVar(&b.baseline, "baseline", "", "another tocsin that is measured in turn with it")
	chosen := flag.String("figures", strings.Join(names, ","), "what is measured")
	flag.IntVar(&b.rows, "rows", 100_000, "rows of an import")
	flag.IntVar(&b.messages, "messages", 10_000, "messages to one webhook")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each is measured")
	flag.IntVar(&b.workers, "workers", 1, "worker processes")
	flag.IntVar(&b.stored, "stored", 0, "rows that are stored before an import")
	flag.IntVar(&b.title, "title", 0, "least length of titles")
	flag.DurationVar(&b.idleTime, "idle", time.Minute, "how long the idle product is watched")
	fsync := flag.Bool("fsync", true, "PostgreSQL flushes each commit to the disk")
	peers := flag.Bool("peers", true, "measure the peers too")
	file := flag.String("json", "", "write the result to this file as JSON")
	flag.Parse()
	for _, path := range []*string{&b.binary, &b.baseline} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return err
			}
		}
	}
	if b.dir, err = os.MkdirTemp("", "tocsin-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := os.Chmod(b.dir, 0o755); err != nil { // PostgreSQL may run as another user
		return err
	}
	if b.pg, err = startPostgres(b.dir, *fsync); err != nil {
		return err
	}
	defer b.pg.stop(syscall.SIGINT)
	var results []result
	for _, name := range strings.Split(*chosen, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return fmt.Errorf("there is no figure %q; there are %s", name, strings.Join(names, ", "))
		}
		r, err := b.measure(figures[i], *peers)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.print(b.out)
		results = append(results, r)
	}
	if *file == "" {
		return nil
	}
	text, err := json.MarshalIndent(object{
		"rows": b.rows, "rounds": b.rounds, "workers": b.workers, "stored": b.stored, "title": b.title, "fsync": *fsync,
		"figures": results,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(text, '\n'), 0o600)
}

// result is a figure as it was measured.
type result struct {
	Figure  string               `json:"figure"`
	About   string               `json:"about"`
	Medians map[string]metrics   `json:"medians"` // by contender
	Rounds  map[string][]metrics `json:"rounds"`
	// medians of the ratios of each round, by contender: above 1, Tocsin is better
	Ratios map[string]float64 `json:"ratios"`
	Limits map[string]float64 `json:"limits,omitempty"`
	value  string
}

// measure runs the contenders of a figure in turn.
func (b *bench) measure(f figure, peers bool) (result, error) {
	contenders := []contender{{"tocsin", func(b *bench) (metrics, error) { return f.product(b, b.binary) }}}
	if b.baseline != "" {
		contenders = append(contenders, contender{baselineName, func(b *bench) (metrics, error) {
			return f.product(b, b.baseline)
		}})
	}
	if peers {
		contenders = append(contenders, f.peers...)
	}
	r := result{
		Figure: f.name, About: f.about, Medians: map[string]metrics{}, Rounds: map[string][]metrics{},
		Ratios: map[string]float64{}, Limits: f.limits, value: f.value,
	}
	for range b.rounds {
		for _, c := range contenders {
			if err := b.pg.exec("postgres", "CHECKPOINT"); err != nil {
				return r, err
			}
			m, err := c.run(b)
			if err != nil {
				return r, fmt.Errorf("%s: %w", c.name, err)
			}
			r.Rounds[c.name] = append(r.Rounds[c.name], m)
		}
	}
	for _, c := range contenders {
		rounds := r.Rounds[c.name]
		r.Medians[c.name] = metrics{}
		for name := range rounds[0] {
			values := make([]float64, len(rounds))
			for i := range rounds {
				values[i] = rounds[i][name]
			}
			r.Medians[c.name][name] = median(values)
		}
		if c.name == "tocsin" {
			continue
		}
		ratios := make([]float64, len(rounds))
		for i := range rounds {
			ratios[i] = r.Rounds["tocsin"][i][f.value] / rounds[i][f.value]
			if f.less {
				ratios[i] = 1 / ratios[i]
			}
		}
		r.Ratios[c.name] = median(ratios)
	}
	return r, nil
}

// print writes the figure as a table.
func (r result) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s: %s\n", r.Figure, r.About)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(r.Medians)) {
		m := r.Medians[name]
		fmt.Fprintf(w, "  %s\t%s %s", name, r.value, short(m[r.value]))
		if ratio, found := r.Ratios[name]; found {
			fmt.Fprintf(w, "\ttocsin is %.2f times that", ratio)
			if limit, found := r.Limits[name]; found {
				fmt.Fprintf(w, " (to reach: %.2f)", limit)
			}
		} else {
			fmt.Fprint(w, "\t")
		}
		for _, other := range slices.Sorted(maps.Keys(m)) {
			if other != r.value {
				fmt.Fprintf(w, "\t%s %s", other, short(m[other]))
			}
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
}

// short is a number with three digits that count.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
