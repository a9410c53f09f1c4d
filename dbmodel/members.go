package dbmodel

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Member is a user with its role in a product or a product group.
type Member struct {
	Username string
	FullName string
	Role     rule.Role
}

// Membership names the product or the product group in which a user is a member.
type Membership struct {
	table, column bun.Safe
	ID            int64 // of the product or the product group
}

// InProduct is membership in a product alone, without that through its group.
func InProduct(id int64) Membership { return Membership{"product_members", "product_id", id} }

// InProductGroup is membership in a product group, and thereby in all its products.
func InProductGroup(id int64) Membership {
	return Membership{"product_group_members", "product_group_id", id}
}

const members = `
	SELECT u.username, u.full_name, m.role FROM @members AS m JOIN users u ON u.id = m.user_id
	WHERE m.@holder = @id AND u.username COLLATE "C" > @after ORDER BY u.username COLLATE "C" LIMIT @limit`

// Members lists up to limit members with a name behind after, by name. Whether the viewer may see them is the
// caller's business.
func Members(ctx context.Context, db bun.IDB, in Membership, after string, limit int) ([]Member, error) {
	return queryAll[Member](ctx, db, members,
		args{"members": in.table, "holder": in.column, "id": in.ID, "after": after, "limit": limit})
}

const setMember = `
	INSERT INTO @members (@holder, user_id, role) VALUES (@id, @user, @role)
	ON CONFLICT (user_id, @holder) DO UPDATE SET role = EXCLUDED.role`

// SetMember makes a user a member with this role, or changes the role. It returns ErrConflict where product, product
// group or user are gone by now.
func SetMember(ctx context.Context, db bun.IDB, in Membership, userID int64, role rule.Role) error {
	_, err := exec(ctx, db, setMember,
		args{"members": in.table, "holder": in.column, "id": in.ID, "user": userID, "role": string(role)})
	return err
}

// RemoveMember ends a membership. It returns ErrNotFound where the user is no member.
func RemoveMember(ctx context.Context, db bun.IDB, in Membership, userID int64) error {
	return execOne(ctx, db, `DELETE FROM @members WHERE @holder = @id AND user_id = @user`,
		args{"members": in.table, "holder": in.column, "id": in.ID, "user": userID})
}
