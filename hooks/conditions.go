package main

import "github.com/legendary-wallet/legendary-wallet/service"

// What may be wrong with hooks, besides the conditions of every service. None makes it not ready: nobody sends
// it requests.
var (
	topicMissing = service.Condition{Name: "topic of events"}
	secrets      = service.Condition{Name: "secrets of endpoints"}
)
