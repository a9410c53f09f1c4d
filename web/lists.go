package web

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/web/input"
)

// ListParams are the parameters of every list; exported because huma passes over what is not.
type ListParams struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"250" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

// listOutput is a page of a list.
type listOutput[T any] struct{ Body listAnswer[T] }

type listAnswer[T any] struct {
	Items      []T     `json:"items" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"null: there is no more"`
}

// pageOf makes a page of rows, of which one more than limit was read to see whether there is more.
func pageOf[R, T any](rows []R, limit int, show func(*R) T, cursor func(*R) string) *listOutput[T] {
	out := &listOutput[T]{listAnswer[T]{Items: make([]T, 0, min(len(rows), limit))}}
	for i := range rows[:min(len(rows), limit)] {
		out.Body.Items = append(out.Body.Items, show(&rows[i]))
	}
	if len(rows) > limit {
		next := cursor(&rows[limit-1])
		out.Body.NextCursor = &next
	}
	return out
}

// searchTime is how long a search may take: all that is left by the filters that have an index is read, about a million
// rows in a second.
const searchTime = 8 * time.Second

// errSearchTime says that a search took longer than searchTime.
var errSearchTime = errors.New("the search takes too long")

// list runs the query of a list. filter is that of its filters for which there is no index: with it, the query is a
// search.
func (s *server) list(ctx context.Context, filter string, query func(context.Context) error) error {
	if filter == "" {
		return query(ctx)
	}
	err := s.search(ctx, query)
	if errors.Is(err, errSearchTime) {
		return invalid(input.Fault{
			Location: "query." + filter, Message: "takes too long to search for: choose more filters, such as a product",
		})
	}
	return err
}

// search runs a query that may read much, and ends it after searchTime. A user has few of them at once.
func (s *server) search(ctx context.Context, query func(context.Context) error) error {
	leave, ok := s.searches.enter(ctx)
	if !ok {
		return tooMany(1, "You have searches that run already: wait until one of them ends.")
	}
	defer leave()
	limited, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	var err error
	select {
	case s.searching <- struct{}{}:
		defer func() { <-s.searching }()
		err = query(limited)
	case <-limited.Done():
		err = limited.Err()
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return errSearchTime
	}
	return err
}

// Cursors name the last row that was shown, not a number of rows: what is added meanwhile shifts nothing.

var errCursor = invalid(input.Fault{Location: "query.cursor", Message: "is not a next_cursor of this list"})

func idCursorOf(id int64) string { return encodeCursor(fmt.Sprintf("id %d", id)) }

// idCursor returns the id in a cursor, 0 for none.
func idCursor(cursor string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	var id int64
	text, ok := decodeCursor(cursor)
	if n, err := fmt.Sscanf(text, "id %d", &id); !ok || err != nil || n != 1 || id < 1 || id > accept.MaxID ||
		idCursorOf(id) != cursor {
		return 0, errCursor
	}
	return id, nil
}

func nameCursorOf(name string) string { return encodeCursor("name " + name) }

// nameCursor returns the name in a cursor, empty for none.
func nameCursor(cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	text, ok := decodeCursor(cursor)
	name, found := strings.CutPrefix(text, "name ")
	if !ok || !found || dbmodel.CheckUsername(name) != nil || nameCursorOf(name) != cursor {
		return "", errCursor
	}
	return name, nil
}

func positionCursorOf(p dbmodel.Position, sort string) string {
	return encodeCursor(fmt.Sprintf("%s %d %d", sort, p.CreatedAt.UnixMicro(), p.ID))
}

// positionCursor returns the position in a cursor of a list with the given sort, nil for none.
func positionCursor(cursor, sort string) (*dbmodel.Position, error) {
	if cursor == "" {
		return nil, nil //nolint:nilnil // the beginning
	}
	text, ok := decodeCursor(cursor)
	var micros, id int64
	text, found := strings.CutPrefix(text, sort+" ")
	if n, err := fmt.Sscanf(text, "%d %d", &micros, &id); !ok || !found || err != nil || n != 2 || id < 1 {
		return nil, errCursor
	}
	p := dbmodel.Position{CreatedAt: time.UnixMicro(micros).UTC(), ID: id}
	if y := p.CreatedAt.Year(); y < 1 || y > 9999 || positionCursorOf(p, sort) != cursor {
		return nil, errCursor
	}
	return &p, nil
}

func encodeCursor(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func decodeCursor(cursor string) (string, bool) {
	const longest = 160
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	return string(b), err == nil && len(b) <= longest
}
