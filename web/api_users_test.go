package web_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const usersPath = "/api/v1/users"

func TestUsers(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		const path = usersPath + "/Alex.D_o-e+1@example.com"
		want := map[string]any{"username": "Alex.D_o-e+1@example.com", "full_name": "", "email": "", "is_admin": false}
		step := func(body string, change map[string]any) {
			t.Helper()
			maps.Copy(want, change)
			for _, got := range []map[string]any{e.want(200, "PUT", path, body).json, e.want(200, "GET", path, nil).json} {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s:\n%s", body, diff)
				}
			}
		}
		step(`{}`, nil)
		step(`{"full_name":" Alex Doe ","email":"alex@example.com","is_admin":true}`, map[string]any{"full_name": "Alex Doe", "email": "alex@example.com", "is_admin": true})
		step(`{"email":"a@example.com"}`, map[string]any{"email": "a@example.com"})
		step(`{"username":"Alex.D_o-e+1@example.com","full_name":null,"email":"","is_admin":null}`, map[string]any{"full_name": "", "email": "", "is_admin": false})
		for body, field := range map[string]string{
			`{"email":"a@example.com, b@example.com"}`: "email", `{"email":"Alex <a@example.com>"}`: "email", `{"email":"x"}`: "email", `{"email":1}`: "email",
			`{"full_name":"` + strings.Repeat("x", 256) + `"}`: "full_name", `{"full_name":"\u0000"}`: "full_name", `{"full_name":[1]}`: "full_name",
			`{"is_admin":"yes"}`: "is_admin", `{"username":"other"}`: "username", `{"password":"x"}`: "password",
		} {
			if f := e.want(422, "PUT", path, body).faults(); f[field] == "" || len(f) != 1 {
				t.Errorf("%s: %v", body, f)
			}
		}
		for _, name := range []string{strings.Repeat("x", 151), "a%20b", "a%2Fb", "%C3%A4", "a%00b", "a,b"} {
			if f := e.want(422, "PUT", usersPath+"/"+name, `{}`).faults(); f["path.username"] == "" {
				t.Errorf("%s: %v", name, f)
			}
		}
		e.want(200, "PUT", usersPath+"/"+strings.Repeat("x", 150), `{}`)
		e.want(404, "GET", usersPath+"/alex.d_o-e+1@example.com", nil) // another one
		e.want(204, "DELETE", path, nil)
		e.want(404, "DELETE", path, nil)
		e.want(404, "GET", path, nil)
	})
}

// TestUserPages: in the order of bytes, whatever the locale of the database.
func TestUserPages(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		for _, name := range []string{"b", "a", "B", "_", strings.Repeat("z", 150)} {
			e.want(200, "PUT", usersPath+"/"+name, `{}`)
			e.want(204, "PUT", "/api/v1/products/1/members/"+name, `{"role":"reader"}`)
		}
		for path, want := range map[string]string{usersPath: "B _ a automation b " + strings.Repeat("z", 150), "/api/v1/products/1/members": "B _ a b " + strings.Repeat("z", 150)} {
			var got []string
			for cursor := ""; ; {
				r := e.want(200, "GET", path+"?limit=1"+cursor, nil)
				for _, i := range r.json["items"].([]any) {
					got = append(got, i.(map[string]any)["username"].(string))
				}
				next, more := r.json["next_cursor"].(string)
				if !more {
					break
				}
				cursor = "&cursor=" + next
			}
			if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
				t.Errorf("%s:\n%s", path, diff)
			}
			e.want(422, "GET", path+"?cursor=aWQgMQ", nil)
		}
	})
}

// TestAutomation: the user of TOCSIN_ADMIN_TOKEN is known without a look into the database, and it is the stored one.
func TestAutomation(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		u, err := dbmodel.UserByName(t.Context(), e.db, dbmodel.Automation)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dbmodel.AutomationViewer(), u.Viewer()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestAdministratorsAreTheirOwn: a program with the scope ingest makes no administrators, and changes none.
func TestAdministratorsAreTheirOwn(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		e.user("alex", false)
		program := []string{"Authorization", "Bearer " + e.token("boss", dbmodel.ScopeIngest)}
		e.want(403, "PUT", usersPath+"/alex", `{"full_name":"Alex","is_admin":true}`, program...)
		e.want(403, "PUT", usersPath+"/new", `{"is_admin":true}`, program...)
		e.want(404, "GET", usersPath+"/new", nil)
		e.want(403, "PUT", usersPath+"/boss", `{"is_admin":false}`, program...)
		e.want(403, "PUT", usersPath+"/boss", `{"email":"mine@example.com"}`, program...)
		e.want(403, "DELETE", usersPath+"/boss", nil, program...)
		e.want(200, "PUT", usersPath+"/boss", e.want(200, "GET", usersPath+"/boss", nil, program...).json, program...)
		e.want(200, "PUT", usersPath+"/alex", `{"full_name":"Alex","is_admin":false}`, program...)
		if got := e.want(200, "GET", usersPath+"/alex", nil).json; got["is_admin"] != false || got["full_name"] != "Alex" {
			t.Errorf("alex: %v", got)
		}
	})
}

func TestMembers(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.inventory()
		e.want(200, "PUT", usersPath+"/alex", `{"full_name":"Alex Doe","email":"alex@example.com"}`)
		for _, path := range []string{"/api/v1/products/1/members", "/api/v1/product-groups/1/members"} {
			for _, role := range rule.Roles {
				e.want(204, "PUT", path+"/alex", map[string]any{"role": role})
				want := []any{map[string]any{"username": "alex", "full_name": "Alex Doe", "role": string(role)}}
				if diff := cmp.Diff(want, e.want(200, "GET", path, nil).json["items"]); diff != "" {
					t.Error(diff)
				}
			}
			for _, body := range []string{`{}`, `{"role":null}`, `{"role":""}`, `{"role":"admin"}`, `{"role":1}`} {
				if f := e.want(422, "PUT", path+"/alex", body).faults(); f["role"] == "" {
					t.Errorf("%s: %v", body, f)
				}
			}
			e.want(404, "PUT", path+"/nobody", `{"role":"reader"}`)
			e.want(404, "DELETE", path+"/nobody", nil)
			e.want(204, "DELETE", path+"/alex", nil)
			e.want(404, "DELETE", path+"/alex", nil)
		}
		e.want(204, "PUT", "/api/v1/products/1/members/alex", `{"role":"owner"}`)
		e.want(204, "DELETE", "/api/v1/products/1", nil)
		e.product(1)
		if got := e.want(200, "GET", "/api/v1/products/1/members", nil); len(got.json["items"].([]any)) != 0 {
			t.Errorf("members outlive their product: %s", got.text)
		}
		e.want(404, "PUT", "/api/v1/products/77/members/alex", `{"role":"reader"}`)
		e.want(404, "GET", "/api/v1/product-groups/77/members", nil)
	})
}

// TestTokens: one that is expired, revoked, or whose user is gone opens nothing; what the user may counts at once.
func TestTokens(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		ctx := t.Context()
		e.inventory()
		id := e.user("alex", false)
		create := func(expires time.Duration) (string, int64) {
			t.Helper()
			at := time.Now().Add(expires).Truncate(time.Microsecond)
			token, tokenID, err := dbmodel.CreateToken(ctx, e.db, id, dbmodel.ScopeUser, &at)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(token, "tocsin_") || len(token) < len("tocsin_")+43 {
				t.Errorf("the token %q", token)
			}
			return token, tokenID
		}
		ask := func(status int, token string) {
			t.Helper()
			e.want(status, "GET", inboxPath, nil, "Authorization", "Bearer "+token)
		}
		expired, _ := create(-time.Second)
		ask(401, expired)
		token, tokenID := create(time.Hour)
		ask(200, token)
		ask(401, token+"x")
		ask(401, token[:len(token)-1])
		e.want(403, "GET", "/api/v1/settings", nil, "Authorization", "Bearer "+token)
		e.user("alex", true)
		e.want(200, "GET", "/api/v1/settings", nil, "Authorization", "Bearer "+token)
		e.user("alex", false)
		e.want(403, "GET", "/api/v1/settings", nil, "Authorization", "Bearer "+token)
		list, err := dbmodel.Tokens(ctx, e.db)
		if err != nil || len(list) != 2 || !list[0].Expired || list[1].Expired || list[1].Username != "alex" {
			t.Errorf("tokens: %+v, %v", list, err)
		}
		if err := dbmodel.RevokeToken(ctx, e.db, tokenID); err != nil {
			t.Fatal(err)
		}
		ask(401, token)
		if err := dbmodel.RevokeToken(ctx, e.db, tokenID); !errors.Is(err, dbmodel.ErrNotFound) {
			t.Errorf("revoked twice: %v", err)
		}

		token, _ = create(time.Hour)
		e.member(dbmodel.InProduct(1), "alex", rule.Owner)
		e.member(dbmodel.InProductGroup(1), "alex", rule.Owner)
		exec(t, e, "INSERT INTO notification_views (user_id, notification_id) SELECT $1, id FROM notifications", id)
		e.want(204, "DELETE", usersPath+"/alex", nil)
		ask(401, token)
		for removed := int64(1); removed > 0; { // a worker does that
			err := e.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
				removed, err = dbmodel.RemoveDeleted(ctx, tx)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, table := range []string{"tokens", "product_members", "product_group_members", "notification_views"} {
			var left int
			if err := e.db.DB.DB.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&left); err != nil || left != 0 {
				t.Errorf("%s: %d rows are left, %v", table, left, err)
			}
		}
		if again := e.user("alex", false); again == id {
			t.Error("a number is used twice")
		}
		ask(401, token)
		if strings.Contains(e.log.String(), token) || strings.Contains(fmt.Sprint(list), token) {
			t.Error("a token is shown")
		}
	})
}

// TestTokensBesideTheirHeader: a token counts in its header alone, where it goes before a session, and nothing logs it.
func TestTokensBesideTheirHeader(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		e.user("alex", false)
		token := e.token("boss", dbmodel.ScopeUser)
		const path = "/api/v1/settings"
		for _, query := range []string{"access_token=", "token=", "authorization=Bearer+", "Authorization=Bearer%20"} {
			e.want(401, "GET", path+"?"+query+token, nil, "Authorization", "")
		}
		e.want(401, "GET", "/api/v1/settings/"+token, nil, "Authorization", "")
		for _, header := range []string{"X-Api-Key", "X-Auth-Token", "Proxy-Authorization", "Cookie"} {
			e.want(401, "GET", path, nil, "Authorization", "", header, "Bearer "+token)
		}
		e.want(401, "PATCH", path, "access_token="+token, "Authorization", "", "Content-Type", "application/x-www-form-urlencoded")
		e.want(401, "GET", path, nil, "Authorization", "", "Cookie", "__Host-tocsin_session="+token)

		boss, alex := e.visitor("boss"), e.visitor("alex")
		ask := func(status int, v *visitor, authorization string) {
			t.Helper()
			e.want(status, "GET", path, nil, "Cookie", v.cookie, "Authorization", authorization)
		}
		ask(200, boss, "")
		ask(403, alex, "")
		ask(200, alex, "Bearer "+token)
		ask(403, boss, "Bearer "+e.token("alex", dbmodel.ScopeUser))
		ask(403, boss, "Bearer "+e.token("boss", dbmodel.ScopeIngest))
		ask(401, boss, "Bearer wrong")
		ask(401, boss, "Bearer "+strings.TrimPrefix(boss.cookie, "__Host-tocsin_session="))
		for _, secret := range []string{token, strings.TrimPrefix(boss.cookie, "__Host-tocsin_session=")} {
			if strings.Contains(e.log.String(), secret) {
				t.Error("a token is in the log")
			}
		}
	})
}

func exec(t *testing.T, e *env, query string, args ...any) {
	t.Helper()
	if _, err := e.db.DB.DB.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

// TestPutUserThatIsBeingDeleted: of two at once, one that makes a user and one that deletes the one of before, both are done.
func TestPutUserThatIsBeingDeleted(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/users/alex", `{"full_name":"before"}`)
		tx, err := e.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		u, err := dbmodel.UserForUpdate(t.Context(), tx, "alex")
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan *reply)
		go func() { answer <- e.send("PUT", "/api/v1/users/alex", `{"email":"alex@example.com"}`) }()
		<-time.After(300 * time.Millisecond) // it has seen the user, and waits
		if err := dbmodel.DeleteUser(t.Context(), tx, u.ID); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if r := <-answer; r.status != 200 || !strings.Contains(r.text, `"full_name":""`) || !strings.Contains(r.text, "alex@example.com") {
			t.Errorf("answered %d: %s", r.status, r.text)
		}
	})
}
