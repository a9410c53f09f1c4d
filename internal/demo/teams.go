package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

type teamsMessage struct {
	Attachments []struct {
		ContentType string `json:"contentType"`
		Content     struct {
			Body    []cardElement `json:"body"`
			Actions []cardElement `json:"actions"`
		} `json:"content"`
	} `json:"attachments"`
}

// cardElement is any element of an Adaptive Card: https://adaptivecards.io/explorer/
type cardElement struct {
	Type      string            `json:"type"`
	Text      string            `json:"text"`
	Size      string            `json:"size"`
	Weight    string            `json:"weight"`
	Color     string            `json:"color"`
	FontType  string            `json:"fontType"`
	Spacing   string            `json:"spacing"`
	Style     string            `json:"style"`
	IsSubtle  bool              `json:"isSubtle"`
	Separator bool              `json:"separator"`
	Inlines   []json.RawMessage `json:"inlines"`
	Facts     []struct {
		Title string `json:"title"`
		Value string `json:"value"`
	} `json:"facts"`
	Items        []cardElement `json:"items"`
	Columns      []cardElement `json:"columns"`
	Rows         []cardElement `json:"rows"`
	Cells        []cardElement `json:"cells"`
	Actions      []cardElement `json:"actions"`
	SelectAction *cardElement  `json:"selectAction"`
	Title        string        `json:"title"`
	URL          string        `json:"url"`
}

// UnmarshalJSON ignores the columns of a Table, which say widths, not contents.
func (e *cardElement) UnmarshalJSON(b []byte) error {
	type plain cardElement
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &kind); err != nil {
		return fmt.Errorf("card element: %w", err)
	}
	if err := json.Unmarshal(b, (*plain)(e)); err != nil {
		return fmt.Errorf("card element %s: %w", kind.Type, err)
	}
	if kind.Type == "Table" {
		e.Columns = nil
	}
	return nil
}

var errNoCard = errors.New("no Adaptive Card in attachments")

// readTeams returns the message, or why a workflow would have failed.
func readTeams(body []byte) (message, error) {
	var in teamsMessage
	if err := json.Unmarshal(body, &in); err != nil {
		return message{}, fmt.Errorf("read card: %w", err)
	}
	m := message{Kind: kindTeams}
	for _, a := range in.Attachments {
		if a.ContentType != "application/vnd.microsoft.card.adaptive" {
			continue
		}
		m.Content = append(m.Content, drawAll(a.Content.Body, maxDepth)...)
		if buttons := drawAll(a.Content.Actions, 1); len(buttons) > 0 {
			m.Content = append(m.Content, group("actions", buttons))
		}
	}
	if len(m.Content) == 0 {
		return message{}, errNoCard
	}
	m.Lead = leadOf(m.Content)
	return m, nil
}

// leadOf is the text of the first block, which is what a telephone shows.
func leadOf(nodes []node) string {
	var b strings.Builder
	for _, n := range nodes[:min(len(nodes), 1)] {
		b.WriteString(n.Text)
		for _, r := range n.Nodes {
			b.WriteString(r.Text)
		}
	}
	return b.String()
}

func drawAll(elements []cardElement, depth int) []node {
	if depth == 0 {
		return nil
	}
	var out []node
	for _, e := range elements {
		out = append(out, e.draw(depth))
	}
	return out
}

func (e cardElement) draw(depth int) node {
	class := e.spacing()
	switch e.Type {
	case "TextBlock":
		return block(class, run(e.class(), e.Text))
	case "RichTextBlock":
		return block(class, e.runs()...)
	case "FactSet":
		n := node{Kind: factsNode, Class: class}
		for _, f := range e.Facts {
			n.Nodes = append(n.Nodes, node{Kind: factNode, Class: f.Title, Text: f.Value})
		}
		return n
	case "ColumnSet":
		return group(class+" columns", drawAll(e.Columns, depth-1))
	case "Column", "Container", "TableCell":
		return group(class, drawAll(e.Items, depth-1))
	case "Table":
		return node{Kind: tableNode, Class: class, Nodes: drawAll(e.Rows, depth-1)}
	case "TableRow":
		return node{Kind: rowNode, Nodes: drawAll(e.Cells, depth-1)}
	case "ActionSet":
		return group(class+" actions", drawAll(e.Actions, depth-1))
	case "Action.OpenUrl":
		return node{Kind: buttonNode, Text: e.Title, URL: e.URL}
	}
	return unknown(e.Type)
}

// runs are the inlines of a RichTextBlock, each an object or a mere text.
func (e cardElement) runs() []node {
	var out []node
	for _, raw := range e.Inlines {
		var text string
		var inline cardElement
		switch {
		case json.Unmarshal(raw, &text) == nil:
			out = append(out, run("", text))
		case json.Unmarshal(raw, &inline) == nil && inline.Type == "TextRun":
			r := run(inline.class(), inline.Text)
			if a := inline.SelectAction; a != nil && a.Type == "Action.OpenUrl" {
				r.URL = a.URL
			}
			out = append(out, r)
		default:
			out = append(out, unknown(inline.Type))
		}
	}
	return out
}

// class is the look of a text, in words that the style sheet knows; other words have no effect.
func (e cardElement) class() string {
	words := []string{}
	for _, w := range []string{e.Size, e.Weight, e.Color, e.FontType, e.Style} {
		if w != "" {
			words = append(words, "c-"+strings.ToLower(w))
		}
	}
	if e.IsSubtle {
		words = append(words, "subtle")
	}
	return strings.Join(words, " ")
}

func (e cardElement) spacing() string {
	class := "space-" + strings.ToLower(e.Spacing)
	if e.Spacing == "" {
		class = "space-default"
	}
	if e.Separator {
		class += " separator"
	}
	return class
}
