package demo

// node is one element of a chat message, as the page draws it. What the vendors name differently and show alike is one
// kind; Class says the rest.
type node struct {
	Kind  nodeKind
	Class string
	Text  string
	URL   string
	Nodes []node
}

// nodeKind says how the page draws a node.
type nodeKind string

// Kinds of nodes.
const (
	blockNode   nodeKind = "block"  // runs, one after the other
	runNode     nodeKind = "run"    // text, perhaps with a link
	groupNode   nodeKind = "group"  // nodes, one below the other; Class "columns" and "fields": beside each other
	factNode    nodeKind = "fact"   // Class is the name, Text the value
	factsNode   nodeKind = "facts"  // facts
	tableNode   nodeKind = "table"  // rows
	rowNode     nodeKind = "row"    // groups
	buttonNode  nodeKind = "button" // a link
	unknownNode nodeKind = "unknown"
)

func block(class string, runs ...node) node {
	return node{Kind: blockNode, Class: class, Nodes: runs}
}

func run(class, text string) node { return node{Kind: runNode, Class: class, Text: text} }

func group(class string, nodes []node) node {
	return node{Kind: groupNode, Class: class, Nodes: nodes}
}

// unknown shows that something was sent that is not drawn here.
func unknown(what string) node { return node{Kind: unknownNode, Text: what} }
