package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/tasks"
)

const (
	mediaNDJSON = "application/x-ndjson"
	maxLine     = 1 << 20 // bytes, without what ends the line
)

// chunk is what one statement stores: observations with distinct ids, and where their lines are.
type chunk struct {
	list  []tasks.Observation
	lines []int // numbers of the lines, from 1
	ids   map[int64]struct{}
}

func newChunk() *chunk {
	return &chunk{list: make([]tasks.Observation, 0, tasks.ChunkSize), lines: make([]int, 0, tasks.ChunkSize), ids: make(map[int64]struct{}, tasks.ChunkSize)}
}

func (c *chunk) clear() {
	clear(c.list) // the texts of the lines before
	clear(c.ids)
	c.list, c.lines = c.list[:0], c.lines[:0]
}

// lineImport stores a stream of lines in chunks; while one is stored, the next one is read.
type lineImport struct {
	s     *server
	chunk *chunk // being filled
	spare *chunk // being stored, or empty

	storing chan error // gets the result of what is being stored; nil: nothing is
	total   tasks.Accepted
	stored  int // the leading lines that are kept
}

// importLines stores observations, one a line. Where it ends with an error, the lines before the faulty one are stored all
// the same; the error says so.
func (s *server) importLines(ctx context.Context, body io.Reader) (tasks.Accepted, error) {
	ctx = context.WithoutCancel(ctx) // the lines that came are stored, also where their client is gone in the middle of the next one
	im := &lineImport{s: s, chunk: newChunk(), spare: newChunk()}
	faulty, line := im.read(ctx, body)
	err := im.wait()
	if err == nil {
		err = im.store(ctx, im.chunk)
	}
	if err != nil { // its line comes before the faulty one
		return im.total, err
	}
	if faulty != nil {
		return im.total, faulty.at(line)
	}
	return im.total, nil
}

// read reads lines until their end, or a fault, and its line; or until something could not be stored.
func (im *lineImport) read(ctx context.Context, body io.Reader) (faulty *problem, line int) {
	in := bufio.NewReaderSize(body, maxLine+2) // one more than a line with \r\n, so that a longer one shows
	dec := jsontext.NewDecoder(strings.NewReader(""), observationOptions...)
	text := bytes.NewReader(nil)
	for {
		raw, err := in.ReadSlice('\n')
		if err == io.EOF && len(raw) == 0 {
			return nil, 0
		}
		line++
		raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
		switch {
		case len(raw) > maxLine || errors.Is(err, bufio.ErrBufferFull):
			return lineFault("is longer than 1 MiB"), line
		case err != nil && err != io.EOF:
			return brokenStream(err), line
		}
		if line == 1 {
			raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
		}
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue
		}
		var o tasks.Observation
		text.Reset(raw)
		dec.Reset(text, observationOptions...)
		if p := readLine(dec, &o); p != nil {
			return p, line
		}
		if !im.add(ctx, &o, line) {
			return nil, 0
		}
	}
}

// readLine reads an observation that stands alone.
func readLine(dec *jsontext.Decoder, o *tasks.Observation) *problem {
	var faults faultList
	err := readObservation(dec, o, "", &faults)
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			return lineFault("must be one JSON object: something comes after its end")
		}
	}
	if err != nil {
		reason, offset := syntaxFault(err, dec)
		return lineFault("is broken JSON: " + reason + ", at byte " + strconv.FormatInt(offset, 10))
	}
	if len(faults) == 0 || faults[0].Location != "" { // else it is no object
		for _, f := range tasks.ValidateObservation(o) {
			faults.addOnce(f.Field, f.Message)
		}
	}
	if faults == nil {
		return nil
	}
	p := invalid(faults...)
	p.Detail = "has " + strconv.Itoa(len(faults)) + " faults"
	if len(faults) == 1 {
		p.Detail = "has a fault: " + strings.TrimSpace(faults[0].Location+" "+faults[0].Message)
	}
	return p
}

// lineFault says what is wrong with a line, to be completed by at.
func lineFault(what string) *problem { return newProblem(http.StatusUnprocessableEntity, what) }

// at says which line is faulty; those before it are stored.
func (p *problem) at(line int) *problem {
	stored := line - 1
	p.Line, p.Stored = &line, &stored
	if p.Status == http.StatusUnprocessableEntity {
		p.Detail = fmt.Sprintf("Line %d %s. The lines before it are stored.", line, p.Detail)
	}
	return p
}

// brokenStream is the problem where the lines stop coming.
func brokenStream(err error) *problem {
	p := unreadable(err)
	if p == nil {
		p = newProblem(http.StatusBadRequest, "The body ends before its end. The whole lines are stored.")
	}
	return p
}

// add takes an observation into the chunk, and has that stored when it is full. An id that comes again begins the next
// chunk: each line counts. It returns false where the chunk before could not be stored; wait says why.
func (im *lineImport) add(ctx context.Context, o *tasks.Observation, line int) bool {
	if _, again := im.chunk.ids[o.ID]; (again || len(im.chunk.list) == tasks.ChunkSize) && !im.flush(ctx) {
		return false
	}
	im.chunk.ids[o.ID] = struct{}{}
	im.chunk.list = append(im.chunk.list, *o)
	im.chunk.lines = append(im.chunk.lines, line)
	return true
}

// flush begins to store the chunk, once the one before is stored. It returns false where that could not be.
func (im *lineImport) flush(ctx context.Context) bool {
	if err := im.wait(); err != nil {
		im.storing = make(chan error, 1)
		im.storing <- err // for the next one to wait
		return false
	}
	im.chunk, im.spare = im.spare, im.chunk
	full, storing := im.spare, make(chan error, 1)
	im.storing = storing
	go func() { storing <- im.store(ctx, full) }()
	return true
}

// wait returns the result of what is being stored.
func (im *lineImport) wait() error {
	if im.storing == nil {
		return nil
	}
	err := <-im.storing
	im.storing = nil
	im.spare.clear()
	return err
}

// store stores a chunk. Where a product does not exist, it stores the lines before, and returns the line as a *problem.
func (im *lineImport) store(ctx context.Context, c *chunk) error {
	list := c.list
	var faulty *problem
	for len(list) > 0 {
		received, err := im.s.acceptor.Chunk(ctx, list)
		var unknown *dbmodel.UnknownProductsError
		switch {
		case errors.As(err, &unknown):
			first := slices.IndexFunc(list, func(o tasks.Observation) bool { return slices.Contains(unknown.IDs, o.ProductID) })
			faulty = invalid(fault{Location: "product_id", Message: "there is no product " + strconv.FormatInt(list[first].ProductID, 10) + ": create it first"})
			faulty.Detail = "names a product that does not exist"
			faulty = faulty.at(c.lines[first])
			list = list[:first] // again: another one may just have been deleted
			continue
		case err != nil:
			p := problemOf(err)
			if p.Status == http.StatusServiceUnavailable {
				p.Detail = "The database does not answer: send what comes after the stored lines again in a moment."
			}
			p.Stored = &im.stored
			return p
		}
		im.total.Received += received.Received
		im.total.Changed += received.Changed
		im.total.Unchanged += received.Unchanged
		im.stored = c.lines[len(list)-1]
		break
	}
	if faulty != nil {
		return faulty
	}
	return nil
}
