package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
)

// call is Call that returns the answer.
func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	err := c.Call(ctx, method, path, body, &out)
	return out, err
}

// PutProductGroup makes a product group, or changes the fields that are set.
func (c *Client) PutProductGroup(ctx context.Context, id int64, fields ProductGroupFields) (ProductGroup, error) {
	return call[ProductGroup](ctx, c, http.MethodPut, fmt.Sprintf("/product-groups/%d", id), fields)
}

// PutProduct makes a product, or changes the fields that are set.
func (c *Client) PutProduct(ctx context.Context, id int64, fields ProductFields) (Product, error) {
	return call[Product](ctx, c, http.MethodPut, fmt.Sprintf("/products/%d", id), fields)
}

// Product returns a product.
func (c *Client) Product(ctx context.Context, id int64) (Product, error) {
	return call[Product](ctx, c, http.MethodGet, fmt.Sprintf("/products/%d", id), nil)
}

// PutUser makes a user, or changes the fields that are set.
func (c *Client) PutUser(ctx context.Context, username string, fields UserFields) (User, error) {
	return call[User](ctx, c, http.MethodPut, "/users/"+url.PathEscape(username), fields)
}

// PutProductMember makes a user a member of a product, or changes the role.
func (c *Client) PutProductMember(ctx context.Context, id int64, username string, role Role) error {
	path := fmt.Sprintf("/products/%d/members/%s", id, url.PathEscape(username))
	return c.Call(ctx, http.MethodPut, path, MemberFields{Role: role}, nil)
}

// PutProductGroupMember makes a user a member of a product group, or changes the role.
func (c *Client) PutProductGroupMember(ctx context.Context, id int64, username string, role Role) error {
	path := fmt.Sprintf("/product-groups/%d/members/%s", id, url.PathEscape(username))
	return c.Call(ctx, http.MethodPut, path, MemberFields{Role: role}, nil)
}

// PostObservations reports the state of observations: all of them, or none. One call takes 10,000; ImportObservations
// takes any number.
func (c *Client) PostObservations(ctx context.Context, observations ...ObservationBody) (Accepted, error) {
	return call[Accepted](ctx, c, http.MethodPost, "/observations", ObservationsBody{Observations: observations})
}

// Observations returns the observations that the caller sees, by id.
func (c *Client) Observations(ctx context.Context, params ListObservationsParams) iter.Seq2[Observation, error] {
	return list[Observation](ctx, c, "/observations", params)
}

// PutSecurityGate reports whether a product passes its security gate; nil: it has none. It returns whether that is a
// change.
func (c *Client) PutSecurityGate(ctx context.Context, productID int64, passed *bool) (changed bool, err error) {
	gate, err := call[Gate](ctx, c, http.MethodPut, fmt.Sprintf("/products/%d/security-gate", productID),
		GateFields{Passed: passed})
	return gate.Changed, err
}

// PostException reports an exception in a request.
func (c *Client) PostException(ctx context.Context, e ExceptionBody) error {
	return c.Call(ctx, http.MethodPost, "/exceptions", e, nil)
}

// PostTaskException reports an exception in a background task.
func (c *Client) PostTaskException(ctx context.Context, e TaskExceptionBody) error {
	return c.Call(ctx, http.MethodPost, "/task-exceptions", e, nil)
}

// Notifications returns the notifications that the caller sees, newest first.
func (c *Client) Notifications(ctx context.Context, params ListNotificationsParams) iter.Seq2[Notification, error] {
	return list[Notification](ctx, c, "/notifications", params)
}

// Explain returns why an observation is, or is not, notified.
func (c *Client) Explain(ctx context.Context, observationID int64) (Explain, error) {
	return call[Explain](ctx, c, http.MethodGet, fmt.Sprintf("/observations/%d/explain", observationID), nil)
}

// Subscriptions returns the subscriptions that the caller sees.
func (c *Client) Subscriptions(ctx context.Context, params ListSubscriptionsParams) iter.Seq2[Subscription, error] {
	return list[Subscription](ctx, c, "/subscriptions", params)
}

// PostSubscription makes a subscription. The answer, and no other one, has the secrets of its signed webhooks.
func (c *Client) PostSubscription(ctx context.Context, fields SubscriptionFields) (Subscription, error) {
	return call[Subscription](ctx, c, http.MethodPost, "/subscriptions", fields)
}

// PatchSettings changes the settings that are set.
func (c *Client) PatchSettings(ctx context.Context, fields SettingsFields) (Settings, error) {
	return call[Settings](ctx, c, http.MethodPatch, "/settings", fields)
}

// TestProduct sends a test message to the contacts of a product, now.
func (c *Client) TestProduct(ctx context.Context, id int64, fields TestFields) (Test, error) {
	return call[Test](ctx, c, http.MethodPost, fmt.Sprintf("/products/%d/test-notification", id), fields)
}

// Status returns how much is left to do.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/status", nil)
}
