package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/web/input"
)

const (
	mediaNDJSON = "application/x-ndjson"
	// chunkText is after how many bytes of long texts a chunk is full: a few long titles weigh as much as many short ones.
	chunkText = 2 << 20
)

// chunk is what one statement stores: observations with distinct ids, and where their lines are.
type chunk struct {
	list  []dbmodel.Observation
	lines []int // numbers of the lines, from 1
	ids   map[int64]struct{}
	text  int // bytes of the long texts
}

func newChunk() *chunk {
	return &chunk{ids: map[int64]struct{}{}}
}

func (c *chunk) clear() {
	clear(c.list) // the texts of the lines before
	clear(c.ids)
	c.list, c.lines, c.text = c.list[:0], c.lines[:0], 0
}

// lineImport stores a stream of lines in chunks; while one is stored, the next one is read.
type lineImport struct {
	s        *server
	baseline bool
	size     int    // observations of a full chunk
	chunk    *chunk // being filled
	spare    *chunk // being stored, or empty

	storing chan error // gets the result of what is being stored, after the rest behind it; nil: nothing is
	total   accept.Accepted
	stored  int       // the leading lines that are kept
	allowed time.Time // when the caller was known to be allowed
}

// importLines stores observations, one a line, as a baseline or not. Where it ends with an error, the lines before the
// faulty one are stored all the same; the error says so.
func (s *server) importLines(ctx context.Context, body io.Reader, baseline bool) (accept.Accepted, error) {
	// The lines that came are stored, also where the client goes away in the middle of the next one.
	ctx = context.WithoutCancel(ctx)
	im := &lineImport{
		s: s, baseline: baseline, size: accept.FirstChunkSize, chunk: newChunk(), spare: newChunk(), allowed: time.Now(),
	}
	faulty := im.read(ctx, body)
	err := im.wait()
	if err == nil {
		err = im.store(ctx, im.chunk, true)
	}
	if err != nil { // its line comes before the faulty one
		return im.total, err
	}
	return im.total, faulty
}

// read reads lines until their end; until a fault, which it returns; or until something could not be stored.
func (im *lineImport) read(ctx context.Context, body io.Reader) error {
	lines := input.NewLines(body)
	for {
		var o dbmodel.Observation
		line, err := lines.Next(&o)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return lineProblem(line, err)
		}
		if !im.add(ctx, &o, line) {
			return nil
		}
	}
}

// lineProblem says which line is faulty, or where the lines stop coming; those before it are stored.
func lineProblem(line int, err error) *problem {
	var p *problem
	if refused, ok := errors.AsType[*input.LineError](err); ok {
		p = newProblem(http.StatusUnprocessableEntity,
			fmt.Sprintf("Line %d %s. The lines before it are stored.", line, refused.Reason))
		p.Errors = refused.Faults
	} else if p = unreadable(err); p == nil {
		p = newProblem(http.StatusBadRequest, "The body ends before its end. The whole lines are stored.")
	}
	p.Line, p.Stored = &line, new(line-1)
	return p
}

// add takes an observation into the chunk, and has that stored when it is full. An id that comes again begins the next
// chunk: each line counts. It returns false where the chunk before could not be stored; wait says why.
func (im *lineImport) add(ctx context.Context, o *dbmodel.Observation, line int) bool {
	_, again := im.chunk.ids[o.ID]
	full := len(im.chunk.list) == im.size || im.chunk.text >= chunkText
	if (again || full) && !im.flush(ctx) {
		return false
	}
	im.chunk.text += o.TextSize()
	im.chunk.ids[o.ID] = struct{}{}
	im.chunk.list = append(im.chunk.list, *o)
	im.chunk.lines = append(im.chunk.lines, line)
	return true
}

// flush begins to store the chunk, once the one before is stored and the rest behind it is over. It returns false where
// the one before could not be stored.
func (im *lineImport) flush(ctx context.Context) bool {
	if err := im.wait(); err != nil {
		im.storing = make(chan error, 1)
		im.storing <- err // for the next one to wait
		return false
	}
	im.chunk, im.spare = im.spare, im.chunk
	full, storing := im.spare, make(chan error, 1)
	im.storing = storing
	im.size = min(2*im.size, accept.ChunkSize) // large chunks cost less for each line
	go func() {
		began := time.Now()
		err := im.store(ctx, full, false)
		if err == nil {
			im.rest(began)
		}
		storing <- err
	}()
	return true
}

// rest lets single events go first after a chunk whose storing began at the given time. A process that shuts down does
// not rest: it waits for its imports.
func (im *lineImport) rest(began time.Time) {
	select {
	case <-time.After(im.s.queue.RestAfter(began)):
	case <-im.s.stopping:
	}
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

// store stores a chunk; last says that it is the last one of the import. Where a product does not exist, it stores the
// lines before, and returns the line as a *problem.
func (im *lineImport) store(ctx context.Context, c *chunk, last bool) error {
	list := c.list
	if p := im.stillAllowed(ctx); p != nil {
		p.Stored = &im.stored
		return p
	}
	if err := im.s.keepsTakenObservations(ctx, im.s.intake, list); err != nil {
		p := problemOf(err)
		p.Stored = &im.stored
		return p
	}
	var faulty *problem
	for len(list) > 0 {
		received, err := im.s.acceptor.Chunk(ctx, list, accept.ChunkOptions{Baseline: im.baseline, Last: last})
		var unknown *dbmodel.UnknownProductsError
		switch {
		case errors.As(err, &unknown):
			first := slices.IndexFunc(list, func(o dbmodel.Observation) bool {
				return slices.Contains(unknown.IDs, o.ProductID)
			})
			faulty = lineProblem(c.lines[first], unknownProduct(list[first].ProductID))
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

// stillAllowed refuses the rest of an import whose token or session has ended meanwhile: it may go on for any time. A
// database that does not answer is no reason.
func (im *lineImport) stillAllowed(ctx context.Context) *problem {
	if time.Since(im.allowed) < callerPause {
		return nil
	}
	im.allowed = time.Now()
	x := exchangeOf(ctx)
	switch who, given, err := im.s.callerOf(x.r.WithContext(ctx)); {
	case err == nil && who == nil:
		return unauthorized(x.w.Header(), given)
	case err == nil && !who.may(ingesters):
		return forbidden("The caller may not report observations any more.")
	}
	return nil
}

// unknownProduct refuses a line that names a product which does not exist.
func unknownProduct(id int64) error {
	message := "there is no product " + strconv.FormatInt(id, 10) + ": create it first"
	return &input.LineError{
		Reason: "names a product that does not exist", Faults: input.Faults{{Location: "product_id", Message: message}},
	}
}
