//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"weft/internal/e2e/daemon"
	"weft/internal/e2e/testpmd"
)

// kills is how often the front end dies in mid-traffic.
const kills = 20

// killMemoryMB is enough for testpmd with fewer packet buffers, so that two of them start quickly.
const killMemoryMB = 256

// TestFrontEndsKilledInMidTraffic kills one front end with SIGKILL again and again. Another one's packets go round
// meanwhile: not one may be lost, and weft must hold no more at the end than after the first time.
func TestFrontEndsKilledInMidTraffic(t *testing.T) {
	r := newRig(t, 4*time.Minute)
	noHuge := !r.needTestpmd(2 * killMemoryMB)
	d := r.weft(`pmd: {cpus: 1, idle: poll}
bridges:
  - name: br0
    ports:
      - {name: v0, driver: vhost-user, number: 1, path: @/v0, mode: server}
      - {name: v1, driver: vhost-user, number: 2, path: @/v1, mode: server}
      - {name: w0, driver: vhost-user, number: 3, path: @/w0, mode: server}
      - {name: w1, driver: vhost-user, number: 4, path: @/w1, mode: server}
    flows:
      - in_port=v0,actions=output:v1
      - in_port=v1,actions=output:v0
      - in_port=w0,actions=output:w1
      - in_port=w1,actions=output:w0
`)
	before, err := d.Ports(r.ctx)
	r.must(err)
	small := testpmd.Config{MemoryMB: killMemoryMB, Mbufs: 16384, QueueSize: 256, NoHugepages: noHuge}
	survivor := r.load(d, small)
	r.circulate(d, survivor, 300*time.Millisecond)
	var first daemon.Holdings
	for i := range kills {
		victim := small
		victim.Name, victim.CPU, victim.Sockets = "victim", loadCPU, [2]string{r.path("w0"), r.path("w1")}
		victim.NotMergeable = i%2 == 1
		v, err := testpmd.Start(r.ctx, r.group, victim)
		r.must(err)
		r.must(d.WaitLink(r.ctx, true, "w0", "w1"))
		_, err = v.Command(r.ctx, "start tx_first 4")
		r.must(err)
		received, err := d.Ports(r.ctx)
		r.must(err)
		r.eventually(5*time.Second, func() error {
			now, err := d.Ports(r.ctx)
			if err == nil && now["w0"].Rx.Packets < received["w0"].Rx.Packets+1000 {
				err = fmt.Errorf("round %d: the victim's traffic does not flow", i)
			}
			return err
		})
		v.Process.Kill()
		r.must(d.WaitLink(r.ctx, false, "w0", "w1"))
		if i == 0 {
			time.Sleep(300 * time.Millisecond) // unmapping waits for a quiescent point
			first, err = d.Holdings()
			r.must(err)
		}
	}
	r.eventually(3*time.Second, func() error {
		last, err := d.Holdings()
		if more := last.Growth(first, 3); err == nil && len(more) > 0 {
			err = fmt.Errorf("after %d kills weft holds more than after one: %v", kills, more)
		}
		return err
	})
	r.conserved(d, survivor, before)
	after, err := d.Ports(r.ctx)
	r.must(err)
	for _, name := range []string{"v0", "v1"} {
		if p := after[name]; p.Tx.Dropped+p.Rx.Dropped != 0 {
			t.Errorf("%s lost packets while its neighbours died: %v %v", name, p.Rx.Drops, p.Tx.Drops)
		}
	}
	if got := after["w0"].Sessions; got != kills {
		t.Errorf("w0 counts %d sessions, want %d", got, kills)
	}
}
