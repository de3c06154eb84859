package pictor

import "time"

// WithDelays makes a test's client less patient.
func WithDelays(delays ...time.Duration) Option { return func(s *settings) { s.delays = delays } }

// ServiceConfig is what travels in the client.
var ServiceConfig = serviceConfig
