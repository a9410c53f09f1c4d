package login

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A provider that does not answer holds nobody longer than they want to wait, neither who asks it nor who comes after.
func TestProviderHangs(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer far.Close()
	o := NewProvider(OIDC{Issuer: far.URL}, "https://tocsin.example/login/oidc/callback")
	ask := func() (cancel func(), gone chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		gone = make(chan error, 1)
		go func() {
			_, err := o.discover(ctx)
			gone <- err
		}()
		return cancel, gone
	}
	cancelFirst, first := ask()
	<-asked
	cancelSecond, second := ask()
	cancelSecond()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("who comes after: %v", err)
	}
	cancelFirst()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who asks: %v", err)
	}
}
