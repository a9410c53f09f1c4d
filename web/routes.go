package web

import (
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/redis/go-redis/v9"
)

// Tags of the OpenAPI document.
const (
	tagProducts      = "Products"
	tagGroups        = "Product groups"
	tagObservations  = "Observations"
	tagUsers         = "Users"
	tagExceptions    = "Exceptions"
	tagInbox         = "Inbox"
	tagDeliveries    = "Deliveries"
	tagOperations    = "Operations"
	tagSettings      = "Settings"
	tagSubscriptions = "Subscriptions"
)

// tags say what the calls of a tag are about, in the order in which they are shown.
var tags = []*huma.Tag{
	{Name: tagProducts, Description: "What is scanned, with its members and notification settings"},
	{Name: tagGroups, Description: "Products that share members and notification settings"},
	{Name: tagObservations, Description: "Findings in products, as the web tier reports them"},
	{Name: tagUsers, Description: "People who receive and see notifications"},
	{Name: tagExceptions, Description: "What went wrong in the web tier and its background tasks"},
	{Name: tagInbox, Description: "Notifications, as the caller sees them"},
	{Name: tagDeliveries, Description: "Notifications on their way to their recipients"},
	{Name: tagSubscriptions, Description: "What people and teams receive beside the contacts of products, and when"},
	{Name: tagSettings, Description: "Settings for all products"},
	{Name: tagOperations, Description: "What is left to do, and what failed"},
}

// calls adds all calls of the API, below /api/v1.
func (s *server) calls() {
	s.inventoryCalls()
	s.memberCalls()
	s.eventCalls()
	s.inboxCalls()
	s.subscriptionCalls()
	s.operationCalls()
}

// inventoryCalls are about what the web tier knows: product groups, products, observations and users.
func (s *server) inventoryCalls() {
	route(s, "GET /product-groups", everybody, s.apiListProductGroups,
		call{id: "listProductGroups", tag: tagGroups, summary: "List product groups, by id"})
	route(s, "GET /product-groups/{id}", everybody, s.apiGetProductGroup,
		call{id: "getProductGroup", tag: tagGroups, summary: "Show a product group"})
	route(s, "PUT /product-groups/{id}", everybody, s.apiPutProductGroup,
		call{
			id: "putProductGroup", tag: tagGroups, body: productGroupFields{},
			summary: "Make a product group, or change the fields that are sent",
		})
	route(s, "DELETE /product-groups/{id}", ingesters, s.apiDeleteProductGroup,
		call{id: "deleteProductGroup", tag: tagGroups, summary: "Delete a product group; its products stay"})

	route(s, "GET /products", everybody, s.apiListProducts,
		call{id: "listProducts", tag: tagProducts, summary: "List products, by id"})
	route(s, "GET /products/{id}", everybody, s.apiGetProduct,
		call{id: "getProduct", tag: tagProducts, summary: "Show a product"})
	route(s, "PUT /products/{id}", everybody, s.apiPutProduct,
		call{
			id: "putProduct", tag: tagProducts, body: productFields{},
			summary: "Make a product, or change the fields that are sent",
		})
	route(s, "DELETE /products/{id}", ingesters, s.apiDeleteProduct,
		call{
			id: "deleteProduct", tag: tagProducts,
			summary: "Delete a product with its observations, notifications and pending deliveries",
		})
	route(s, "POST /products/{id}/test-notification", people, s.apiTestProduct,
		call{
			id: "testProduct", tag: tagProducts, body: testFields{}, optional: true, status: http.StatusOK,
			summary: "Send a test message to the contacts of a product, now",
		})

	route(s, "POST /products/{id}/preview", people, s.apiPreview,
		call{
			id: "previewProduct", tag: tagProducts, body: previewFields{}, status: http.StatusOK,
			summary: "Say what settings or a subscription that are not stored would notify",
		})

	route(s, "GET /observations", everybody, s.apiListObservations,
		call{id: "listObservations", tag: tagObservations, summary: "List observations, by id"})
	route(s, "GET /observations/{id}", everybody, s.apiGetObservation,
		call{id: "getObservation", tag: tagObservations, summary: "Show an observation"})
	route(s, "DELETE /observations/{id}", ingesters, s.apiDeleteObservation,
		call{
			id: "deleteObservation", tag: tagObservations,
			summary: "Delete an observation and what is remembered of it; its notifications stay",
		})
	route(s, "GET /observations/{id}/explain", people, s.apiExplain,
		call{id: "explainObservation", tag: tagObservations, summary: "Say why an observation is, or is not, notified"})

	route(s, "GET /users", ingesters, s.apiListUsers,
		call{id: "listUsers", tag: tagUsers, summary: "List users, by name"})
	route(s, "GET /users/{username}", ingesters, s.apiGetUser,
		call{id: "getUser", tag: tagUsers, summary: "Show a user"})
	route(s, "PUT /users/{username}", ingesters, s.apiPutUser,
		call{id: "putUser", tag: tagUsers, body: userFields{}, summary: "Make a user, or change the fields that are sent"})
	route(s, "DELETE /users/{username}", ingesters, s.apiDeleteUser,
		call{id: "deleteUser", tag: tagUsers, summary: "Delete a user with its tokens, memberships and marks"})
}

// memberCalls are about the members of products and of product groups.
func (s *server) memberCalls() {
	route(s, "GET /products/{id}/members", everybody, s.apiListMembers(productMembers),
		call{id: "listProductMembers", tag: tagProducts, summary: "List the members of a product, by name"})
	route(s, "PUT /products/{id}/members/{username}", everybody, s.apiPutMember(productMembers),
		call{
			id: "putProductMember", tag: tagProducts, body: memberFields{}, status: http.StatusNoContent,
			summary: "Make a user a member of a product, or change the role",
		})
	route(s, "DELETE /products/{id}/members/{username}", everybody, s.apiDeleteMember(productMembers),
		call{id: "deleteProductMember", tag: tagProducts, summary: "Take a member out of a product"})

	route(s, "GET /product-groups/{id}/members", everybody, s.apiListMembers(groupMembers),
		call{id: "listProductGroupMembers", tag: tagGroups, summary: "List the members of a product group, by name"})
	route(s, "PUT /product-groups/{id}/members/{username}", everybody, s.apiPutMember(groupMembers),
		call{
			id: "putProductGroupMember", tag: tagGroups, body: memberFields{}, status: http.StatusNoContent,
			summary: "Make a user a member of a product group, or change the role",
		})
	route(s, "DELETE /product-groups/{id}/members/{username}", everybody, s.apiDeleteMember(groupMembers),
		call{id: "deleteProductGroupMember", tag: tagGroups, summary: "Take a member out of a product group"})
}

// eventCalls report what happens.
func (s *server) eventCalls() {
	route(s, "POST /observations", ingesters, s.apiPostObservations,
		call{
			id: "postObservations", tag: tagObservations, body: observationsBody{}, lines: true, status: http.StatusAccepted,
			summary: "Report the state of observations",
		})
	route(s, "POST /observations/{id}/evaluate", everybody, s.apiEvaluateObservation,
		call{
			id: "evaluateObservation", tag: tagObservations, status: http.StatusAccepted,
			summary: "Evaluate an observation again",
		})
	route(s, "POST /products/{id}/evaluate", everybody, s.apiEvaluateAll(productMembers),
		call{
			id: "evaluateProduct", tag: tagProducts, status: http.StatusAccepted,
			summary: "Evaluate all observations of a product again",
		})
	route(s, "POST /product-groups/{id}/evaluate", everybody, s.apiEvaluateAll(groupMembers),
		call{
			id: "evaluateProductGroup", tag: tagGroups, status: http.StatusAccepted,
			summary: "Evaluate all observations of the products of a group again",
		})
	route(s, "PUT /products/{id}/security-gate", ingesters, s.apiPutSecurityGate,
		call{
			id: "putSecurityGate", tag: tagProducts, body: gateFields{}, status: http.StatusAccepted,
			summary: "Report whether the product passes its security gate",
		})
	route(s, "POST /exceptions", ingesters, s.apiPostException,
		call{
			id: "postException", tag: tagExceptions, body: ExceptionBody{}, status: http.StatusAccepted,
			summary: "Report an exception in a request",
		})
	route(s, "POST /task-exceptions", ingesters, s.apiPostTaskException,
		call{
			id: "postTaskException", tag: tagExceptions, body: taskExceptionBody{}, status: http.StatusAccepted,
			summary: "Report an exception in a background task",
		})
}

// inboxCalls are about notifications and their deliveries.
func (s *server) inboxCalls() {
	route(s, "GET /notifications", people, s.apiListNotifications,
		call{id: "listNotifications", tag: tagInbox, summary: "List notifications, newest first"})
	route(s, "GET /notifications/{id}", people, s.apiGetNotification,
		call{id: "getNotification", tag: tagInbox, summary: "Show a notification"})
	route(s, "POST /notifications/{id}/viewed", people, s.apiViewNotification,
		call{id: "viewNotification", tag: tagInbox, summary: "Mark a notification as viewed"})
	route(s, "POST /notifications/viewed", people, s.apiViewNotifications,
		call{
			id: "viewNotifications", tag: tagInbox, body: viewedFields{}, status: http.StatusNoContent,
			summary: "Mark notifications as viewed",
		})
	route(s, "DELETE /notifications/{id}", people, s.apiDeleteNotification,
		call{
			id: "deleteNotification", tag: tagInbox, summary: "Delete a notification for everyone, with its pending deliveries",
		})
	route(s, "POST /notifications/delete", people, s.apiDeleteNotifications,
		call{
			id: "deleteNotifications", tag: tagInbox, body: deleteFields{}, status: http.StatusNoContent,
			summary: "Delete notifications for everyone: by ids all or none of those that the caller sees (204), " +
				"by filter those that the caller may delete",
		})
	answers := s.operation(http.MethodPost, "/notifications/delete").Responses
	answers["202"], answers["204"] = answers["204"], &huma.Response{Description: "Deleted by ids"}
	answers["202"].Description = "Deleted by filter"
	route(s, "POST /notifications/{id}/deliver", people, s.apiDeliverNotification,
		call{
			id: "deliverNotification", tag: tagInbox, status: http.StatusAccepted,
			summary: "Deliver a notification to all that would receive it now and have none that waits or was sent",
		})
	route(s, "GET /notifications/unread-count", people, s.apiCountUnread,
		call{id: "countUnread", tag: tagInbox, summary: "Count the notifications that the caller has not viewed"})
	route(s, "GET /notifications/stream", people, s.apiStreamUnread,
		call{id: "streamUnread", tag: tagInbox, summary: "Follow how many notifications the caller has not viewed"})
	// A generator cannot do more with a stream of events than hand it over as it comes.
	s.operation(http.MethodGet, "/notifications/stream").Responses["200"] = &huma.Response{
		Description: "Server-sent events: on connecting and whenever the count changes, one event unread, whose data is " +
			"an object as GET /notifications/unread-count answers it",
		Content: map[string]*huma.MediaType{
			"text/event-stream": {
				Schema:  &huma.Schema{Type: huma.TypeString, Format: "binary"},
				Example: "event: unread\ndata: {\"count\":3}\n\n",
			},
		},
	}

	route(s, "GET /deliveries", people, s.apiListDeliveries,
		call{id: "listDeliveries", tag: tagDeliveries, summary: "List deliveries, newest first"})
	route(s, "POST /deliveries/{id}/resend", people, s.apiResendDelivery,
		call{
			id: "resendDelivery", tag: tagDeliveries, status: http.StatusAccepted,
			summary: "Send a failed delivery again, or have a pending one tried at once",
		})
	route(s, "POST /deliveries/resend", people, s.apiResendDeliveries,
		call{
			id: "resendDeliveries", tag: tagDeliveries, body: resendFields{}, status: http.StatusAccepted,
			summary: "Send all failed deliveries again that the caller may resend",
		})
}

// subscriptionCalls are about subscriptions.
func (s *server) subscriptionCalls() {
	route(s, "GET /subscriptions", people, s.apiListSubscriptions,
		call{id: "listSubscriptions", tag: tagSubscriptions, summary: "List the subscriptions that the caller sees, by id"})
	route(s, "POST /subscriptions", people, s.apiPostSubscription,
		call{
			id: "postSubscription", tag: tagSubscriptions, body: subscriptionFields{}, status: http.StatusCreated,
			summary: "Make a subscription; the answer has the secrets of its signed webhooks",
		})
	route(s, "GET /subscriptions/{id}", people, s.apiGetSubscription,
		call{id: "getSubscription", tag: tagSubscriptions, summary: "Show a subscription"})
	route(s, "PATCH /subscriptions/{id}", people, s.apiPatchSubscription,
		call{
			id: "patchSubscription", tag: tagSubscriptions, body: subscriptionFields{},
			summary: "Change the fields that are sent",
		})
	route(s, "DELETE /subscriptions/{id}", people, s.apiDeleteSubscription,
		call{id: "deleteSubscription", tag: tagSubscriptions, summary: "Delete a subscription"})
	route(s, "POST /subscriptions/{id}/test", people, s.apiTestSubscription,
		call{
			id: "testSubscription", tag: tagSubscriptions, body: testFields{}, optional: true, status: http.StatusOK,
			summary: "Send a test message to its contacts, now; a success enables a disabled one",
		})
	route(s, "POST /subscriptions/{id}/rotate-secret", people, s.apiRotateSecret,
		call{
			id: "rotateSecret", tag: tagSubscriptions, body: rotateFields{}, status: http.StatusOK,
			summary: "Give a signed webhook a new secret; the one before signs too, for 24 hours",
		})
}

// operationCalls are for administrators.
func (s *server) operationCalls() {
	route(s, "GET /failed-events", administrators, s.apiListFailedEvents,
		call{
			id: "listFailedEvents", tag: tagOperations, summary: "List events whose evaluation failed for good, newest first",
		})
	route(s, "POST /failed-events/retry", administrators, s.apiRetryFailedEvents,
		call{
			id: "retryFailedEvents", tag: tagOperations, body: retryFields{}, optional: true, status: http.StatusAccepted,
			summary: "Evaluate such events again",
		})
	route(s, "DELETE /failed-events/{id}", administrators, s.apiDismissFailedEvent,
		call{id: "dismissFailedEvent", tag: tagOperations, summary: "Dismiss such an event: it is not evaluated any more"})
	route(s, "GET /periodic-tasks", administrators, s.apiListPeriodicTasks,
		call{id: "listPeriodicTasks", tag: tagOperations, summary: "List the runs of periodic tasks, newest first"})
	route(s, "GET /status", administrators, s.apiGetStatus,
		call{id: "getStatus", tag: tagOperations, summary: "Show how much is left to do"})
	route(s, "GET /settings", administrators, s.apiGetSettings,
		call{id: "getSettings", tag: tagSettings, summary: "Show the settings"})
	route(s, "PATCH /settings", administrators, s.apiPatchSettings,
		call{id: "patchSettings", tag: tagSettings, body: settingsFields{}, summary: "Change the settings that are sent"})
	route(s, "POST /settings/test-notification", administrators, s.apiTestSettings,
		call{
			id: "testSettings", tag: tagSettings, body: testFields{}, optional: true, status: http.StatusOK,
			summary: "Send a test message to the contacts for titles and exceptions, now",
		})
}

// pages returns all that is served: the pages, the calls below /api/v1, the monitor, and what probes and Prometheus
// read.
func (s *server) pages(calls http.Handler, client redis.UniversalClient, monitorWrite bool) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle(apiRoot+"/", s.authenticate(calls))
	mux.Handle(apiRoot, s.authenticate(calls))
	text := sync.OnceValue(func() []byte { return documentOf(s.api.OpenAPI()) }) // few processes are asked for it
	mux.Handle("GET "+documentPath, showDocument(text))
	s.referencePages(mux, text)
	mux.HandleFunc(healthPattern, s.showHealth)
	mux.HandleFunc(readyPattern, s.showReady)
	mux.Handle(metricsPattern, metricsHandler(s.registry))
	if client != nil {
		mux.Handle(monitorPath+"/", s.monitor(client, monitorWrite))
	}
	mux.HandleFunc(staticPattern, showStatic)

	s.publicPage(mux, "GET /login", s.showLogin)
	s.publicPage(mux, "POST /login", s.logInWithPassword)
	s.publicPage(mux, "POST /logout", s.logOut)
	s.publicPage(mux, "GET /setup", s.showSetup)
	s.publicPage(mux, "POST /setup", s.saveSetup)
	if s.oidc != nil {
		s.publicPage(mux, "GET /login/oidc", s.startOIDC)
		s.publicPage(mux, "GET /login/oidc/callback", s.logInWithOIDC)
	}

	s.page(mux, "GET /{$}", people, s.showInbox)
	s.page(mux, "GET /notifications/{id}", people, s.showNotificationPage)
	s.page(mux, "POST /notifications/{id}/deliver", people, s.deliverOnPage)
	s.page(mux, "POST /notifications/viewed", people, s.saveViewed)
	s.page(mux, "POST /notifications/delete", people, s.removeNotifications)

	s.holderPages(mux)

	s.page(mux, "GET /observations", people, s.showObservations)
	s.page(mux, "GET /observations/{id}", people, s.redirectToExplain)
	s.page(mux, "GET /observations/{id}/explain", people, s.showExplain)
	s.page(mux, "POST /observations/{id}/evaluate", people, s.evaluateAgain)

	s.page(mux, "GET /deliveries", people, s.showDeliveries)
	s.page(mux, "POST /deliveries/{id}/resend", people, s.resendOne)
	s.page(mux, "POST /deliveries/resend", people, s.resendAll)
	s.page(mux, "POST /targets/{id}/resend", people, s.resendTarget)
	s.page(mux, "POST /failed-events/retry", administrators, s.retryEvents)
	s.page(mux, "POST /failed-events/{id}/dismiss", administrators, s.dismissEvent)

	s.page(mux, "GET /settings", administrators, s.showSettings)
	s.page(mux, "POST /settings", administrators, s.saveSettings)
	s.page(mux, "POST /settings/test", administrators, s.sendSettingsTest)

	s.userPages(mux)
	s.subscriptionPages(mux)
	mux.Handle("/", s.unknownPage(unknownCall(mux)))
	return mux
}

// holderPages are about products and product groups.
func (s *server) holderPages(mux *http.ServeMux) {
	products, groups := holderKind{root: productsPath}, holderKind{root: productGroupsPath, group: true}
	s.page(mux, "GET /products", people, s.showProducts)
	s.page(mux, "GET /products/{id}", people, s.showHolder(products))
	s.page(mux, "POST /products/{id}", people, s.saveHolder(products))
	s.page(mux, "POST /products/{id}/test", people, s.sendProductTest)
	s.page(mux, "POST /products/{id}/evaluate", people, s.evaluateHolder(products))
	s.page(mux, "POST /products/{id}/members", people, s.saveMember(products))
	s.page(mux, "POST /products/{id}/members/remove", people, s.takeMemberOut(products))
	s.page(mux, "GET /product-groups", people, s.showProductGroups)
	s.page(mux, "GET /product-groups/{id}", people, s.showHolder(groups))
	s.page(mux, "POST /product-groups/{id}", people, s.saveHolder(groups))
	s.page(mux, "POST /product-groups/{id}/evaluate", people, s.evaluateHolder(groups))
	s.page(mux, "POST /product-groups/{id}/members", people, s.saveMember(groups))
	s.page(mux, "POST /product-groups/{id}/members/remove", people, s.takeMemberOut(groups))
}

// userPages are about users and the password of one's own.
func (s *server) userPages(mux *http.ServeMux) {
	s.page(mux, "GET /users", administrators, s.showUsers)
	s.page(mux, "POST /users", administrators, s.addUser)
	s.page(mux, "GET /users/{username}", administrators, s.showUserPage)
	s.page(mux, "POST /users/{username}", administrators, s.saveUser)
	s.page(mux, "POST /users/{username}/delete", administrators, s.deleteUser)
	s.page(mux, "POST /users/{username}/password", administrators, s.renewPassword)
	s.page(mux, "POST /users/{username}/tokens", administrators, s.createToken)
	s.page(mux, "POST /users/{username}/tokens/{id}/revoke", administrators, s.revokeToken)
	s.page(mux, "GET /password", people, s.showOwnPassword)
	s.page(mux, "POST /password", people, s.changeOwnPassword)
}

// subscriptionPages are about subscriptions, and behind the links in mails that end one.
func (s *server) subscriptionPages(mux *http.ServeMux) {
	s.publicPage(mux, "GET /unsubscribe/{id}/{key}", s.showUnsubscribe)
	mux.HandleFunc("POST /unsubscribe/{id}/{key}", s.unsubscribe)
	s.page(mux, "GET /subscriptions", people, s.showSubscriptions)
	s.page(mux, "POST /subscriptions", people, s.createSubscription)
	s.page(mux, "GET /subscriptions/{id}", people, s.showSubscriptionPage)
	s.page(mux, "POST /subscriptions/{id}", people, s.saveSubscription)
	s.page(mux, "POST /subscriptions/{id}/contacts", people, s.saveContacts)
	s.page(mux, "POST /subscriptions/{id}/rotate-secret", people, s.rotateOnPage)
	s.page(mux, "POST /subscriptions/{id}/test", people, s.sendSubscriptionTest)
	s.page(mux, "POST /subscriptions/{id}/delete", people, s.removeSubscription)
}
