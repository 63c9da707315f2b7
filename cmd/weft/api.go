package main

import (
	"context"
	"net/http"

	"weft/switch"
	"weft/switch/control"
)

// The requests of the control socket. Answers are vswitch's own types where there are such.

type noRequest struct{}

type bridgeRequest struct {
	Bridge string `json:"bridge"`
}

type portRequest struct {
	Name string `json:"name"`
}

type portAddRequest struct {
	Bridge string `json:"bridge"` // "": the only one
	// Port has the fields that a port has in the configuration file.
	Port map[string]any `json:"port"`
}

type flowRequest struct {
	Bridge string `json:"bridge"`
	Filter string `json:"filter"`
	Strict bool   `json:"strict"`
}

type flowAddRequest struct {
	Bridge string   `json:"bridge"`
	Rules  []string `json:"rules"`
}

type pmdMoveRequest struct {
	Port  string `json:"port"`
	Queue int    `json:"queue"`
	CPU   int    `json:"cpu"`
}

type reloadRequest struct {
	DryRun bool `json:"dry_run"`
}

// countAnswer says how many of something there were.
type countAnswer struct {
	Count int `json:"count"`
}

// doneAnswer is {}.
type doneAnswer struct{}

// route is one route of the control socket: both ends call it by the same types.
type route[In, Out any] struct{ method, pattern string }

func (r route[In, Out]) bind(s *control.Server, f func(context.Context, *In) (Out, error)) {
	control.Handle(s, r.method, r.pattern, f)
}

func (r route[In, Out]) call(ctx context.Context, a *app, in *In) (Out, error) {
	c := a.client()
	defer c.Close()
	return control.Call[In, Out](ctx, c, r.method, r.pattern, in)
}

var (
	routeVersion      = route[noRequest, versionInfo]{http.MethodGet, "/v1/version"}
	routeReload       = route[reloadRequest, vswitch.Plan]{http.MethodPost, "/v1/reload"}
	routeBridges      = route[noRequest, []vswitch.BridgeInfo]{http.MethodGet, "/v1/bridges"}
	routePorts        = route[bridgeRequest, []vswitch.PortInfo]{http.MethodGet, "/v1/ports"}
	routePort         = route[portRequest, *vswitch.PortInfo]{http.MethodGet, "/v1/ports/{name}"}
	routePortAdd      = route[portAddRequest, *vswitch.PortInfo]{http.MethodPost, "/v1/ports"}
	routePortDel      = route[portRequest, doneAnswer]{http.MethodDelete, "/v1/ports/{name}"}
	routeFlows        = route[flowRequest, []vswitch.FlowInfo]{http.MethodGet, "/v1/flows"}
	routeFlowAdd      = route[flowAddRequest, countAnswer]{http.MethodPost, "/v1/flows"}
	routeFlowDel      = route[flowRequest, countAnswer]{http.MethodDelete, "/v1/flows"}
	routeFDB          = route[bridgeRequest, []vswitch.FDBEntry]{http.MethodGet, "/v1/fdb"}
	routeFDBFlush     = route[bridgeRequest, countAnswer]{http.MethodDelete, "/v1/fdb"}
	routePMD          = route[noRequest, []vswitch.PMDInfo]{http.MethodGet, "/v1/pmd"}
	routePMDMove      = route[pmdMoveRequest, doneAnswer]{http.MethodPost, "/v1/pmd/move"}
	routePMDRebalance = route[noRequest, countAnswer]{http.MethodPost, "/v1/pmd/rebalance"}
)
