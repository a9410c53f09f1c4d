package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"strings"
)

// page is a page of a list.
type page[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
}

// list returns all items of a list, page after page, and ends with the first error.
func list[T any](ctx context.Context, c *Client, path string, params any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		query := queryOf(params)
		for {
			p, err := call[page[T]](ctx, c, http.MethodGet, path+"?"+query.Encode(), nil)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for i := range p.Items {
				if !yield(p.Items[i], nil) {
					return
				}
			}
			if p.NextCursor == nil {
				return
			}
			query.Set("cursor", *p.NextCursor)
		}
	}
}

// queryOf returns the parameters that are set. They are pointers in a struct that is generated; their tags have the
// names.
func queryOf(params any) url.Values {
	query := url.Values{}
	v := reflect.ValueOf(params)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("form"), ",")
		field := v.Field(i)
		if field.IsNil() {
			continue
		}
		field = field.Elem()
		if field.Kind() != reflect.Slice {
			query.Set(name, fmt.Sprint(field.Interface()))
			continue
		}
		for j := range field.Len() {
			query.Add(name, fmt.Sprint(field.Index(j).Interface()))
		}
	}
	return query
}
