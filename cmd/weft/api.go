package main

import (
	"context"
	"io"
	"iter"
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

type traceRequest struct {
	Bridge string `json:"bridge"`
	Fields string `json:"fields"`
	Frame  string `json:"frame"` // hexadecimal digits
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

// listRoute is a route whose answer is a list that is sent element by element.
type listRoute[In, T any] struct{ pattern string }

func (r listRoute[In, T]) bind(s *control.Server, f func(context.Context, *In) (iter.Seq[T], error)) {
	control.HandleList(s, r.pattern, f)
}

func (r listRoute[In, T]) each(ctx context.Context, a *app, in *In, visit func(*T) error) error {
	c := a.slowClient()
	defer c.Close()
	return control.CallList(ctx, c, r.pattern, in, visit)
}

// textRoute is a route that takes a text beside its parameters.
type textRoute[In, Out any] struct{ method, pattern string }

func (r textRoute[In, Out]) bind(s *control.Server, f func(context.Context, *In, io.Reader) (Out, error)) {
	control.HandleText(s, r.method, r.pattern, f)
}

var (
	routeVersion      = route[noRequest, versionInfo]{http.MethodGet, "/v1/version"}
	routeReload       = route[reloadRequest, vswitch.Plan]{http.MethodPost, "/v1/reload"}
	routeBridges      = route[noRequest, []vswitch.BridgeInfo]{http.MethodGet, "/v1/bridges"}
	routePorts        = route[bridgeRequest, []vswitch.PortInfo]{http.MethodGet, "/v1/ports"}
	routePort         = route[portRequest, *vswitch.PortInfo]{http.MethodGet, "/v1/ports/{name}"}
	routePortAdd      = route[portAddRequest, *vswitch.PortInfo]{http.MethodPost, "/v1/ports"}
	routePortDel      = route[portRequest, doneAnswer]{http.MethodDelete, "/v1/ports/{name}"}
	routeFlows        = listRoute[flowRequest, vswitch.FlowInfo]{"/v1/flows"}
	routeChanges      = textRoute[vswitch.FlowRequest, vswitch.FlowCounts]{http.MethodPost, "/v1/changes"}
	routeFlowDiff     = textRoute[bridgeRequest, vswitch.FlowDifference]{http.MethodPost, "/v1/flows/diff"}
	routeFlowStats    = route[flowRequest, []vswitch.FlowStats]{http.MethodGet, "/v1/flows/stats"}
	routeFlowTrace    = route[traceRequest, *vswitch.FlowTrace]{http.MethodGet, "/v1/flows/trace"}
	routeGroups       = route[bridgeRequest, []vswitch.TableEntry]{http.MethodGet, "/v1/groups"}
	routeMeters       = route[bridgeRequest, []vswitch.TableEntry]{http.MethodGet, "/v1/meters"}
	routeFlowDel      = route[flowRequest, countAnswer]{http.MethodDelete, "/v1/flows"}
	routeFDB          = route[bridgeRequest, []vswitch.FDBEntry]{http.MethodGet, "/v1/fdb"}
	routeFDBFlush     = route[bridgeRequest, countAnswer]{http.MethodDelete, "/v1/fdb"}
	routePMD          = route[noRequest, []vswitch.PMDInfo]{http.MethodGet, "/v1/pmd"}
	routePMDMove      = route[pmdMoveRequest, doneAnswer]{http.MethodPost, "/v1/pmd/move"}
	routePMDRebalance = route[noRequest, countAnswer]{http.MethodPost, "/v1/pmd/rebalance"}
)
