// Command weft is the virtual switch and its command line: one binary that is the daemon (weft run) and the client of
// its control socket (everything else).
//
//	weft run -c weft.yaml                                weft port list, weft flow add ...
//	+----------------------------------------------+     +---------------------+
//	| settings: flags, WEFT_*, file                |     | control.Client      |
//	| drivers:  "vhost-user" -> vhostuser.Open     |     | tables, -o json     |
//	|           "tap"        -> tap.Open           |     +----------+----------+
//	| vswitch.Switch <-- routes <-- control.Server | <---- unix socket
//	|       |                                      |
//	|       +--> metrics.Collector <-- HTTP /metrics <---- Prometheus
//	+----------------------------------------------+
//
// This is the one package that knows all others: a driver's name in the configuration becomes a constructor here, and
// nowhere else does a switch meet a driver. Files: run.go the daemon, routes.go what its socket answers, port_*.go one
// adapter for each driver, cmd_*.go one group of commands each.
package main
