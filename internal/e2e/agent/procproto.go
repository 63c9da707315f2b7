package agent

import "context"

// The commands that run programs and touch files and modules of the machine.
const (
	OpExec   = "exec"
	OpStart  = "start"
	OpTalk   = "talk"
	OpEnd    = "end"
	OpRead   = "read-file"
	OpWrite  = "write-file"
	OpInsert = "insert-module"
	OpRemove = "remove-module"
)

// ExecArgs runs a program to its end.
type ExecArgs struct {
	Args      []string `json:"args"`
	Stdin     string   `json:"stdin,omitempty"`
	TimeoutMS int      `json:"timeout_ms"` // afterwards it is killed
}

// ExecResult is what a program printed, both streams together, and its exit status.
type ExecResult struct {
	Output string `json:"output"`
	Status int    `json:"status"`
}

// StartArgs starts a program that takes commands on its standard input, under a name of the caller's choice.
type StartArgs struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
}

// TalkArgs writes a line to a started program and waits until it prints Until. An empty Line is not written.
type TalkArgs struct {
	Name      string `json:"name"`
	Line      string `json:"line,omitempty"`
	Until     string `json:"until"`
	TimeoutMS int    `json:"timeout_ms"`
}

// EndArgs waits for the end of a started program, writing Line to it first, and kills it after the timeout.
type EndArgs struct {
	Name      string `json:"name"`
	Line      string `json:"line,omitempty"`
	TimeoutMS int    `json:"timeout_ms"`
}

// FileArgs names a file; Data is what is written to it.
type FileArgs struct {
	Path string `json:"path"`
	Data []byte `json:"data,omitempty"`
}

// ModuleArgs names a kernel module: a file to insert, with parameters, or a loaded module to remove.
type ModuleArgs struct {
	Name   string `json:"name"`
	Params string `json:"params,omitempty"`
}

// Exec runs a program to its end. A status other than 0 is no error.
func (c *Client) Exec(ctx context.Context, a ExecArgs) (ExecResult, error) {
	var r ExecResult
	err := c.Do(ctx, OpExec, a, &r)
	return r, err
}

// Talk writes a line to a started program and returns what it printed up to the text waited for.
func (c *Client) Talk(ctx context.Context, a TalkArgs) (string, error) {
	var out string
	err := c.Do(ctx, OpTalk, a, &out)
	return out, err
}

// End ends a started program and returns the rest of its output and its status.
func (c *Client) End(ctx context.Context, a EndArgs) (ExecResult, error) {
	var r ExecResult
	err := c.Do(ctx, OpEnd, a, &r)
	return r, err
}

// ReadFile reads a file.
func (c *Client) ReadFile(ctx context.Context, path string) ([]byte, error) {
	var data []byte
	err := c.Do(ctx, OpRead, FileArgs{Path: path}, &data)
	return data, err
}

// WriteFile writes a file in one piece, as files of /sys want it, creating an ordinary one and its directory if need be.
func (c *Client) WriteFile(ctx context.Context, path string, data []byte) error {
	return c.Do(ctx, OpWrite, FileArgs{Path: path, Data: data}, nil)
}
