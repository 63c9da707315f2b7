package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"weft/switch"
	"weft/switch/control"
)

// bindRoutes answers requests with the methods of the switch.
func (d *daemon) bindRoutes(s *control.Server) {
	sw := d.sw
	routeVersion.bind(s, func(context.Context, *noRequest) (versionInfo, error) { return buildVersion(), nil })
	routeReload.bind(s, func(ctx context.Context, in *reloadRequest) (vswitch.Plan, error) {
		plan, err := d.reload(ctx, in.DryRun)
		if err != nil {
			return vswitch.Plan{}, err
		}
		return *plan, nil
	})
	routeBridges.bind(s, func(context.Context, *noRequest) ([]vswitch.BridgeInfo, error) {
		return notNil(sw.Bridges()), nil
	})
	routePorts.bind(s, func(_ context.Context, in *bridgeRequest) ([]vswitch.PortInfo, error) {
		return notNilOr(sw.Ports(in.Bridge))
	})
	routePort.bind(s, func(_ context.Context, in *portRequest) (*vswitch.PortInfo, error) { return sw.Port(in.Name) })
	routePortAdd.bind(s, d.addPort)
	routePortDel.bind(s, func(_ context.Context, in *portRequest) (doneAnswer, error) {
		return doneAnswer{}, sw.DelPort(in.Name)
	})
	routeFlows.bind(s, func(_ context.Context, in *flowRequest) (iter.Seq[vswitch.FlowInfo], error) {
		return sw.FlowEach(in.Bridge, in.Filter)
	})
	routeChanges.bind(s, func(_ context.Context, in *vswitch.FlowRequest, text io.Reader) (vswitch.FlowCounts, error) {
		return sw.FlowApply(*in, text)
	})
	routeFlowDiff.bind(s, func(_ context.Context, in *bridgeRequest, text io.Reader) (vswitch.FlowDifference, error) {
		return sw.FlowDiff(in.Bridge, text)
	})
	routeFlowStats.bind(s, func(_ context.Context, in *flowRequest) ([]vswitch.FlowStats, error) {
		return notNilOr(sw.FlowStats(in.Bridge, in.Filter))
	})
	routeFlowTrace.bind(s, func(_ context.Context, in *traceRequest) (*vswitch.FlowTrace, error) {
		return sw.FlowTrace(in.Bridge, in.Fields, in.Frame)
	})
	routeGroups.bind(s, func(_ context.Context, in *bridgeRequest) ([]vswitch.TableEntry, error) {
		return notNilOr(sw.Groups(in.Bridge))
	})
	routeMeters.bind(s, func(_ context.Context, in *bridgeRequest) ([]vswitch.TableEntry, error) {
		return notNilOr(sw.Meters(in.Bridge))
	})
	routeFlowDel.bind(s, func(_ context.Context, in *flowRequest) (countAnswer, error) {
		return count(sw.FlowDel(in.Bridge, in.Filter, in.Strict))
	})
	routeFDB.bind(s, func(_ context.Context, in *bridgeRequest) ([]vswitch.FDBEntry, error) {
		return notNilOr(sw.FDBShow(in.Bridge))
	})
	routeFDBFlush.bind(s, func(_ context.Context, in *bridgeRequest) (countAnswer, error) {
		return count(sw.FDBFlush(in.Bridge))
	})
	routePMD.bind(s, func(context.Context, *noRequest) ([]vswitch.PMDInfo, error) { return notNil(sw.PMDShow()), nil })
	routePMDMove.bind(s, func(_ context.Context, in *pmdMoveRequest) (doneAnswer, error) {
		return doneAnswer{}, sw.PMDMove(in.Port, in.Queue, in.CPU)
	})
	routePMDRebalance.bind(s, func(context.Context, *noRequest) (countAnswer, error) { return count(sw.PMDRebalance()) })
}

func (d *daemon) addPort(ctx context.Context, in *portAddRequest) (*vswitch.PortInfo, error) {
	data, err := json.Marshal(in.Port)
	if err != nil {
		return nil, fmt.Errorf("encode the port: %w", err)
	}
	cfg, err := vswitch.ParsePort(data, d.sw.ParseOptions())
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	own := d.cfg.Control.Socket
	d.mu.Unlock()
	if cfg.Path == own {
		return nil, &vswitch.ConflictError{Msg: "the socket " + own + " is the control socket", Hint: "choose another"}
	}
	return d.sw.AddPort(ctx, in.Bridge, cfg)
}

// notNil makes an absent list an empty one, which JSON shows as [] and not as null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func notNilOr[T any](list []T, err error) ([]T, error) { return notNil(list), err }

func count(n int, err error) (countAnswer, error) { return countAnswer{n}, err }

// toControlError turns the switch's errors into those of the control socket.
func toControlError(err error) *control.Error {
	var missing *vswitch.NotFoundError
	if errors.As(err, &missing) {
		return &control.Error{
			Code: control.CodeNotFound, Message: fmt.Sprintf("no %s %s", missing.Kind, missing.Name), Hint: missing.Hint,
		}
	}
	var conflict *vswitch.ConflictError
	if errors.As(err, &conflict) {
		return &control.Error{Code: control.CodeConflict, Message: conflict.Msg, Hint: conflict.Hint}
	}
	if errors.Is(err, vswitch.ErrClosed) {
		return &control.Error{Code: control.CodeUnavailable, Message: "the daemon is stopping"}
	}
	if list := configErrors(err); list != nil {
		first := *list[0]
		first.More = list[1:]
		return &first
	}
	return nil
}
