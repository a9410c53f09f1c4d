package dbmodel

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Member is a user with its role in a product or a product group.
type Member struct {
	Username string
	FullName string
	Role     rule.Role
}

// Membership is where somebody is a member.
type Membership struct {
	table, column string
	ID            int64 // of the product or the product group
}

// InProduct is membership in a product alone, without that through its group.
func InProduct(id int64) Membership { return Membership{"product_members", "product_id", id} }

// InProductGroup is membership in a product group, and thereby in all its products.
func InProductGroup(id int64) Membership {
	return Membership{"product_group_members", "product_group_id", id}
}

// Members lists up to limit members with a name behind after, by name. Who may see them is the caller's business.
func Members(ctx context.Context, db bun.IDB, in Membership, after string, limit int) ([]Member, error) {
	name := byteOrder(db, "u.username")
	return collect(ctx, db, func(rows *sql.Rows) (m Member, err error) {
		err = rows.Scan(&m.Username, &m.FullName, &m.Role)
		return m, err
	}, "SELECT u.username, u.full_name, m.role FROM "+in.table+" m JOIN users u ON u.id = m.user_id WHERE m."+in.column+" = $1 AND "+
		name+" > $2 ORDER BY "+name+" LIMIT $3", in.ID, after, limit)
}

// SetMember makes a user a member with this role, or changes the role. It returns ErrConflict where product, product group
// or user are gone by now.
func SetMember(ctx context.Context, db bun.IDB, in Membership, userID int64, role rule.Role) error {
	_, err := execCount(ctx, db, "INSERT INTO "+in.table+" ("+in.column+", user_id, role) VALUES ($1, $2, $3) ON CONFLICT (user_id, "+in.column+
		") DO UPDATE SET role = EXCLUDED.role", in.ID, userID, string(role))
	return err
}

// RemoveMember returns ErrNotFound where the user is no member.
func RemoveMember(ctx context.Context, db bun.IDB, in Membership, userID int64) error {
	n, err := execCount(ctx, db, "DELETE FROM "+in.table+" WHERE "+in.column+" = $1 AND user_id = $2", in.ID, userID)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}
