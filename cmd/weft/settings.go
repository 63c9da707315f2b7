package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"weft/switch"
)

const (
	envPrefix     = "WEFT"
	settingSocket = "control.socket"
)

// newSettings reads the environment: log.level is WEFT_LOG_LEVEL, and control.socket, which client and daemon share,
// WEFT_SOCKET as well.
func newSettings() *viper.Viper {
	v := viper.New()
	v.SetEnvPrefix(envPrefix)
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_", "-", "_"))
	v.AutomaticEnv()
	must(v.BindEnv(settingSocket, "WEFT_SOCKET", "WEFT_CONTROL_SOCKET"))
	return v
}

// flagOf is the flag of a daemon setting.
func flagOf(setting string) string {
	if setting == settingSocket {
		return "socket"
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(setting)
}

// envOf is the environment variable of a daemon setting: the one that is set, or else its main name.
func envOf(setting string) string {
	name := envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(setting, ".", "_"))
	if setting == settingSocket && os.Getenv("WEFT_SOCKET") != "" {
		return "WEFT_SOCKET"
	}
	return name
}

// addSettingFlags gives cmd a flag for each daemon setting. They are not bound to the settings, because that is possible
// for the flags of one command only: overrides looks at them.
func (a *app) addSettingFlags(cmd *cobra.Command) {
	for _, s := range vswitch.DaemonSettings() {
		if s == settingSocket {
			continue // a flag of every command
		}
		section, name, _ := strings.Cut(s, ".")
		cmd.Flags().String(flagOf(s), "", fmt.Sprintf("replaces %s: %s: of the configuration (%s)", section, name, envOf(s)))
	}
}

// loadConfig reads a configuration file and applies flags and environment to it.
func (a *app) loadConfig(cmd *cobra.Command, path string, opts vswitch.ParseOptions) (*vswitch.Config, error) {
	cfg, err := vswitch.Load(path, opts)
	if err != nil {
		return nil, err
	}
	return cfg, a.override(cmd, cfg, opts)
}

// override is a daemon setting that a flag or the environment gives.
type override struct{ setting, value, source string }

// overrides are the daemon settings that flags or the environment give.
func (a *app) overrides(cmd *cobra.Command) []override {
	var list []override
	for _, s := range vswitch.DaemonSettings() {
		if f := cmd.Flags().Lookup(flagOf(s)); f != nil && f.Changed {
			list = append(list, override{s, f.Value.String(), "--" + f.Name})
		} else if a.settings.IsSet(s) {
			list = append(list, override{s, a.settings.GetString(s), envOf(s)})
		}
	}
	return list
}

// override replaces the daemon settings that flags or the environment give.
func (a *app) override(cmd *cobra.Command, cfg *vswitch.Config, opts vswitch.ParseOptions) error {
	var errs []error
	for _, o := range a.overrides(cmd) {
		if err := cfg.Override(o.setting, o.value, o.source, opts); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
