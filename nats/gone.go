package nats

// GoneError is the error with [CodeGone]: what has changed since a revision cannot be
// told. List, and ask from there on.
type GoneError struct {
	Description string // as of an [Error]
	Oldest      uint64 // the lowest revision that can be asked for: see [HeaderOldest]
}

func (e *GoneError) Error() string { return e.Unwrap().Error() }

// Unwrap returns the [Error].
func (e *GoneError) Unwrap() error { return &Error{CodeGone, e.Description} }
