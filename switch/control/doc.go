// Package control is how the command line talks to the daemon: HTTP with JSON bodies over a unix socket. It knows
// neither bridges nor ports; the daemon binds typed functions to routes, and the client calls them by the same types.
//
//	weft port list                                     weft run
//	+------------+   GET /v1/ports?bridge=br0 HTTP/1.1 +--------------------+
//	| Call[..]() | ----------------------------------> | Handle[In, Out]()  | ---> func(ctx, *In) (*Out, error)
//	+------------+ <---------------------------------- +--------------------+
//	        200 [{"name": "vm1", ...}]         /run/weft/weft.sock, mode 0660
//	   or   404 {"code": "not_found", "message": ..., "hint": ...}
//
// Whoever may write to the socket may do everything; its owner, group and mode are the access control. Even so a
// request's size and duration are bounded.
//
// # Concurrency
//
// Each request runs on a goroutine of its own, so bound functions are called concurrently. A [Client] may be used by
// several goroutines.
package control
