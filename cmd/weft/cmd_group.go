package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weft/switch"
)

func (a *app) groupCommand() *cobra.Command {
	return group("group", "Show and change groups of ways that packets can take",
		a.tableCommand("groups", routeGroups), a.tableStatsCommand("groups", routeGroups),
		a.changeCommand(&groupAdd), a.changeCommand(&groupModify), a.changeCommand(&groupDelete))
}

func (a *app) meterCommand() *cobra.Command {
	return group("meter", "Show and change meters, which bound rates",
		a.tableCommand("meters", routeMeters), a.tableStatsCommand("meters", routeMeters),
		a.changeCommand(&meterAdd), a.changeCommand(&meterModify), a.changeCommand(&meterDelete))
}

// tableCommand prints groups or meters as they were written.
func (a *app) tableCommand(what string, r route[bridgeRequest, []vswitch.TableEntry]) *cobra.Command {
	return a.entriesCommand("dump", "Print the "+what+", in the form that 'add' takes", r,
		func(e *vswitch.TableEntry) string { return e.Text })
}

// tableStatsCommand prints groups or meters with their counters.
func (a *app) tableStatsCommand(what string, r route[bridgeRequest, []vswitch.TableEntry]) *cobra.Command {
	return a.entriesCommand("stats", "Print what went through the "+what, r,
		func(e *vswitch.TableEntry) string { return e.Stats })
}

func (a *app) entriesCommand(
	name, short string, r route[bridgeRequest, []vswitch.TableEntry], text func(e *vswitch.TableEntry) string,
) *cobra.Command {
	return &cobra.Command{
		Use: name + " [BRIDGE]", Short: short, Args: rangeArgs(0, 1), ValidArgsFunction: a.completeBridges,
		RunE: func(cmd *cobra.Command, args []string) error {
			entries, err := r.call(cmd.Context(), a, &bridgeRequest{Bridge: optional(args)})
			if err != nil {
				return err
			}
			return a.show(entries, func(w io.Writer) {
				for i := range entries {
					fmt.Fprintln(w, text(&entries[i]))
				}
			})
		},
	}
}
