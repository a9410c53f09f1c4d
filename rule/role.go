package rule

import "slices"

// Role says what a user may do in a product, or in all products of a group. Compare with Covers, never by text.
type Role string

// Roles, the lowest first. In Tocsin itself, Upload and Writer allow no more than Reader: only the web tier
// tells them apart.
const (
	NoRole     Role = ""
	Reader     Role = "reader"
	Upload     Role = "upload"
	Writer     Role = "writer"
	Maintainer Role = "maintainer"
	Owner      Role = "owner"
)

// Roles lists all roles but NoRole, the lowest first.
var Roles = []Role{Reader, Upload, Writer, Maintainer, Owner}

// Rank is the role's place in Roles, from 1; 0 for NoRole and for an unknown word.
func (r Role) Rank() int { return slices.Index(Roles, r) + 1 }

// Valid reports whether r is one of Roles.
func (r Role) Valid() bool { return r.Rank() > 0 }

// Covers reports whether r allows all that needed allows; false where one of the two is not one of Roles.
func (r Role) Covers(needed Role) bool { return needed.Valid() && r.Rank() >= needed.Rank() }

// Higher returns the higher one of two roles.
func (r Role) Higher(other Role) Role {
	if other.Rank() > r.Rank() {
		return other
	}
	return r
}

// AndHigher lists all roles that cover r.
func (r Role) AndHigher() []Role {
	if !r.Valid() {
		return nil
	}
	return Roles[r.Rank()-1:]
}
