package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawAnswers sends bytes, ends sending, and returns the statuses of what is answered before the server closes.
func (e *env) rawAnswers(t *testing.T, request string) (statuses []int, last string) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", e.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testTime))
	go func() {
		_, _ = io.WriteString(conn, request)                 // the server may close before it has all
		if !strings.Contains(request, "Connection: close") { // else it closes by itself
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	}()
	in := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses, last
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		statuses, last = append(statuses, res.StatusCode), string(body)
	}
}

// TestStrangeRequests: what is no proper HTTP, or too much of it, is refused before anybody works on it, and a request is
// never taken for two.
func TestStrangeRequests(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	token := "Authorization: Bearer " + adminToken + "\r\n"
	get := func(header string) string {
		return "GET /api/v1/products HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + token + header + "\r\n"
	}
	put := func(header, body string) string {
		return "PUT /api/v1/products/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + token + header + "\r\n" + body
	}
	for name, c := range map[string]struct {
		request string
		want    []int
	}{
		"proper":                   {get(""), []int{200}},
		"two in a row":             {strings.Replace(get(""), "Connection: close\r\n", "", 1) + get(""), []int{200, 200}},
		"huge header":              {get("X: " + strings.Repeat("x", 80<<10) + "\r\n"), []int{431}},
		"many headers":             {get(strings.Repeat("X: y\r\n", 20_000)), []int{431}},
		"huge address":             {"GET /" + strings.Repeat("x", 80<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}},
		"no host":                  {"GET /healthz HTTP/1.1\r\n\r\n", []int{400}},
		"two hosts":                {get("Host: y\r\n"), []int{400}},
		"two lengths":              {put("Content-Length: 2\r\nContent-Length: 30\r\n", "{}"), []int{400}},
		"signed length":            {put("Content-Length: +2\r\n", "{}"), []int{400}},
		"negative length":          {put("Content-Length: -2\r\n", "{}"), []int{400}},
		"length beyond numbers":    {put("Content-Length: 99999999999999999999\r\n", "{}"), []int{400}},
		"unknown coding":           {put("Transfer-Encoding: xchunked\r\n", "2\r\n{}\r\n0\r\n\r\n"), []int{501}},
		"two codings":              {put("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "2\r\n{}\r\n0\r\n\r\n"), []int{501}},
		"space before the colon":   {put("Content-Length : 2\r\n", "{}"), []int{400}},
		"NUL in a header":          {get("X: \x00\r\n"), []int{400}},
		"chunked":                  {put("Transfer-Encoding: chunked\r\n", "2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n"), []int{200}},
		"chunk size no number":     {put("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"), []int{400}},
		"chunk size overflows":     {put("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n{}"), []int{400}},
		"chunk longer than it is":  {put("Transfer-Encoding: chunked\r\n", "2\r\n{}{}\r\n0\r\n\r\n"), []int{400}},
		"endless chunk extension":  {put("Transfer-Encoding: chunked\r\n", "2;"+strings.Repeat("x", 1<<20)+"\r\n{}\r\n0\r\n\r\n"), []int{400}},
		"request within a body":    {put("Content-Length: 2\r\n", "{}"+get("")), []int{200}},
		"other protocol":           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", []int{400}},
		"HTTP/2":                   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400}},
		"version of the future":    {strings.Replace(get(""), "HTTP/1.1", "HTTP/3.0", 1), []int{505}},
		"expects what nobody does": {get("Expect: the-unexpected\r\n"), []int{417}},
		"no right, body announced": {strings.Replace(put("Expect: 100-continue\r\nContent-Length: 1000\r\n", ""), adminToken, "wrong", 1), []int{401}},
		"path upwards":             {strings.Replace(get(""), "/api/v1/products", "/static/../api/v1/../../etc/passwd", 1), []int{307}},
		"proxy":                    {strings.Replace(get(""), "/api", "http://evil.example/api", 1), []int{200}},
	} {
		statuses, last := e.rawAnswers(t, c.request)
		if fmt.Sprint(statuses) != fmt.Sprint(c.want) {
			t.Errorf("%s is answered %v instead of %v: %.300s", name, statuses, c.want, last)
		}
	}
}

// TestStrangeBodies: JSON that is made to hurt is refused, soon and for what is wrong with it.
func TestStrangeBodies(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	const product, exception = "PUT /api/v1/products/1", "POST /api/v1/task-exceptions"
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for name, c := range map[string]struct {
		call, body, media string
		status            int
	}{
		"deep":                         {product, `{"name":` + nested(100_000) + `}`, "", 400},
		"deep, unfinished":             {product, strings.Repeat("[", 900<<10), "", 400},
		"deep objects":                 {product, strings.Repeat(`{"a":`, 150_000), "", 400},
		"deep observation":             {"POST " + postPath, wrapped(nested(100_000)), "", 400},
		"deep line":                    {"POST " + postPath, nested(100_000), ndjson, 422},
		"deep arguments":               {exception, `{"class":"E","arguments":{"a":` + nested(9_000) + `}}`, "", 202},
		"deeper arguments":             {exception, `{"class":"E","arguments":{"a":` + nested(100_000) + `}}`, "", 400},
		"long number":                  {product, `{"product_group_id":` + strings.Repeat("9", 900<<10) + `}`, "", 422},
		"long fraction":                {"POST " + postPath, wrapped(`{"id":1,"cvss_score":0.` + strings.Repeat("9", 8<<20) + `}`), "", 422},
		"long exponent":                {"POST " + postPath, wrapped(`{"id":1e` + strings.Repeat("9", 1<<20) + `}`), "", 422},
		"long number in arguments":     {exception, `{"class":"E","arguments":{"n":` + strings.Repeat("9", 900<<10) + `}}`, "", 202},
		"twice":                        {product, `{"name":"a","name":"b"}`, "", 400},
		"many names":                   {product, `{` + strings.Repeat(`"a":1,`, 150_000) + `"b":2}`, "", 400},
		"many unknown names":           {product, `{` + distinctNames(50_000) + `}`, "", 422},
		"long name":                    {product, `{"` + strings.Repeat("x", 900<<10) + `":1}`, "", 422},
		"surrogate":                    {product, `{"name":"\ud800"}`, "", 400},
		"no UTF-8":                     {product, "{\"name\":\"\xff\"}", "", 400},
		"other encoding":               {product, "\xff\xfe{\x00}\x00", "", 400},
		"byte order mark":              {product, "\xef\xbb\xbf{}", "", 400},
		"comment":                      {product, "{} // nothing", "", 400},
		"two":                          {product, "{}{}", "", 400},
		"nothing":                      {product, "", "", 400},
		"form":                         {product, "name=x", "application/x-www-form-urlencoded", 415},
		"list instead of observations": {"POST " + postPath, `[1]`, "", 422},
		"list instead of a line":       {"POST " + postPath, `[1]`, ndjson, 422},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		media := c.media
		if media == "" {
			media = "application/json"
		}
		started := time.Now()
		r := e.send(method, path, c.body, "Content-Type", media)
		if r.status != c.status {
			t.Errorf("%s is answered %d: %.300s", name, r.status, r.text)
		}
		if r.status >= 400 {
			r.checkProblem(t)
		}
		if len(r.text) > 64<<10 || time.Since(started) > testTime {
			t.Errorf("%s is answered with %d bytes after %s", name, len(r.text), time.Since(started))
		}
	}
	if r := e.send("POST", postPath, "[1]", "Content-Type", ndjson); len(r.faults()) != 1 || r.json["detail"] != "Line 1 has a fault: must be an object. The lines before it are stored." {
		t.Error(r.text)
	}
}

// distinctNames are n fields of an object, each with a name of its own.
func distinctNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"field%d":1,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestImportBreaksOff: a client that ends in the middle of a line hears so, and what came before is stored.
func TestImportBreaksOff(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		for i, framing := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
			body := lines(10*i+1, 3, 1) + `{"id":9,"prod`
			if i == 1 {
				body = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
			}
			statuses, last := e.rawAnswers(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n%s\r\n\r\n%s", postPath, adminToken, ndjson, framing, body))
			if fmt.Sprint(statuses) != "[400]" || !strings.Contains(last, `"line":4,"stored":3`) {
				t.Errorf("%s: %v %s", framing, statuses, last)
			}
			if n := e.count("observations", fmt.Sprintf("id > %d", 10*i)); n != 3 {
				t.Errorf("%s: %d observations are stored", framing, n)
			}
		}
	})
}
