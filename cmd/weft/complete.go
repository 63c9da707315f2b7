package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout is how long a shell waits for the daemon when the operator presses the tab key.
const completionTimeout = time.Second

// completePorts offers the names of the running daemon's ports for the first argument.
func (a *app) completePorts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	ports, err := routePorts.call(ctx, a, &bridgeRequest{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for i := range ports {
		p := &ports[i]
		names = append(names, cobra.CompletionWithDesc(p.Name, p.Driver+" port of "+p.Bridge+", "+upDown(p.Link)))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeBridges offers the names of the running daemon's bridges for the first argument or a flag.
func (a *app) completeBridges(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	bridges, err := routeBridges.call(ctx, a, &noRequest{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for i := range bridges {
		names = append(names, bridges[i].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
