package ingest

import (
	"fmt"
	"strings"
	"testing"

	"trustpack/evidence"
)

const goodBatch = `tenant,device,type,site,fleet,reason
nord,b-1,meter,here,f1,rollout
sued,b-1,meter,there,grid,"rollout, second
line"

nord,b-2,meter,,,rollout
`

func TestBatchIsAllOrNothing(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Approvals.CriticalFleets = []string{"grid"} })
	r.tenant("nord")
	r.tenant("sued")
	r.enrol("nord", "there")
	ctx := t.Context()
	bad := goodBatch + `nord,b-1,meter,here,f1,again
west,b-3,meter,here,f1,no such tenant
nord,b/4,meter,here,f1,bad name
nord,b-5,meter,here,f1,
nord,b-6,meter
nord,there,meter,here,f1,in use
`
	before := r.s.led.Size(controlLog)
	_, err := r.admin("ben").RequestDevices(ctx, []byte(bad), false)
	p := refusedWith(t, err, CodeInvalid)
	want := map[int]Code{7: CodeConflict, 8: CodeNotFound, 9: CodeInvalid, 10: CodeInvalid, 11: CodeInvalid, 12: CodeConflict}
	if len(p.Rows) != len(want) || !strings.Contains(p.Detail, "6 of 9 rows") || !strings.Contains(p.Detail, "line 7") {
		t.Errorf("%s %+v", p.Detail, p.Rows)
	}
	for i, row := range p.Rows {
		if row.Code != want[row.Line] || row.Detail == "" || i > 0 && p.Rows[i-1].Line >= row.Line {
			t.Errorf("%+v", row)
		}
	}
	if n := len(r.control(evidence.EntryDeviceRequested)); n != 1 || r.s.led.Size(controlLog) != before+1 {
		t.Fatalf("%d requests in the log, %d new entries", n, r.s.led.Size(controlLog)-before)
	}

	out, err := r.admin("ben").RequestDevices(ctx, []byte(bad), true)
	if err != nil || len(out.Devices) != 3 || len(out.Refused) != 6 || out.Batch == "" {
		t.Fatalf("%+v %v", out, err)
	}
	asked := r.control(evidence.EntryDeviceRequested)[1:]
	if len(asked) != 3 || asked[1].Reason != "rollout, second\nline" || asked[0].Actor.Name != "ben" || asked[0].RequestID != asked[2].RequestID {
		t.Errorf("%+v", asked)
	}
	// That rows were left is in the log too.
	refused := r.control(evidence.EntryAdminRefused)
	if len(refused) != 2 || !strings.Contains(refused[1].Reason, "6 of 9 rows") {
		t.Errorf("%+v", refused)
	}
	// What is asked for stands like every other request.
	if d := r.latest("sued", "b-1"); d.State != evidence.DeviceRequested || d.Fleet != "grid" || d.Batch != out.Batch || d.RequestExpires == nil {
		t.Errorf("%+v", d)
	}
	_, err = r.admin("carla").RequestDevices(ctx, []byte(goodBatch), true)
	refusedWith(t, err, CodeForbidden)
	// With --partial and no row that stands nothing is done either.
	_, err = r.admin("ben").RequestDevices(ctx, []byte(goodBatch), true)
	if p := refusedWith(t, err, CodeInvalid); len(p.Rows) != 3 {
		t.Errorf("%+v", p.Rows)
	}
}

func TestBatchThatCannotBeRead(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	const head = "tenant,device,type,reason\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {"", "empty"},
		"no rows":          {head, "no row"},
		"unknown column":   {"tenant,device,type,reason,colour\nnord,a,m,x,red\n", `no column "colour"`},
		"column missing":   {"tenant,device,reason\nnord,a,x\n", "type is missing"},
		"column twice":     {"tenant,device,type,reason,device\nnord,a,m,x,b\n", "twice"},
		"stray quote":      {head + "nord,a,m,x\nnord,b\"c,m,x\nnord,d,m,x\n", "line 3"},
		"quote not closed": {head + "nord,a,m,\"x\nnord,b,m,x\n", "line"},
		"too many":         {head + strings.Repeat("nord,a,m,x\n", maxBatch+1), "cut the file"},
	} {
		_, err := r.admin("ben").RequestDevices(t.Context(), []byte(c.text), true)
		if p, ok := err.(*Problem); !ok || p.Code != CodeInvalid || !strings.Contains(p.Detail, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := r.admin("ben").RequestDevices(t.Context(), []byte(head+strings.Repeat("x", maxBatchBody)), false)
	refusedWith(t, err, CodeBodyTooLarge)
	if n := len(r.control(evidence.EntryDeviceRequested)); n != 0 {
		t.Errorf("%d requests in the log", n)
	}
	if _, err := r.admin("ben").RequestDevices(t.Context(), []byte("\ufeff"+head+"nord,a,m,x\r\n"), false); err != nil {
		t.Errorf("with a byte order mark: %v", err)
	}
}

func TestBatchIsApprovedByASecondPerson(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Approvals.CriticalFleets = []string{"grid"} })
	r.tenant("nord")
	r.tenant("sued")
	ctx := t.Context()
	pair, err := r.admin("root.admin").AddOperator(ctx, "both", []string{RoleProvisioner, RoleApprover}, "")
	if err != nil {
		t.Fatal(err)
	}
	r.pairs["both"] = pair
	asked, err := r.admin("both").RequestDevices(ctx, []byte(goodBatch), false)
	if err != nil || len(asked.Devices) != 3 {
		t.Fatalf("%+v %v", asked, err)
	}
	_, err = r.admin("both").ApproveBatch(ctx, asked.Batch, "")
	refusedWith(t, err, CodeApprovalSelf)
	_, err = r.admin("ben").ApproveBatch(ctx, asked.Batch, "")
	refusedWith(t, err, CodeForbidden)
	_, err = r.admin("carla").ApproveBatch(ctx, "nosuch", "")
	refusedWith(t, err, CodeNotFound)
	if _, err := r.admin("carla").DeclineDevice(ctx, "nord", "b-2", "not this one", ""); err != nil {
		t.Fatal(err)
	}
	done, err := r.admin("carla").ApproveBatch(ctx, asked.Batch, "ok")
	if err != nil || len(done.Approved) != 2 || len(done.LeftOut) != 1 || done.LeftOut[0].Device != "b-2" || !strings.Contains(done.LeftOut[0].Why, "declined") {
		t.Fatalf("%+v %v", done, err)
	}
	// The critical fleet's device has one approval of two, and no code.
	one, two := done.Approved[0], done.Approved[1]
	if one.Tenant != "nord" || len(one.Code) != 32 || one.Needed != 1 || two.Tenant != "sued" || two.Code != "" || two.Approvals != 1 || two.Needed != 2 {
		t.Errorf("%+v", done.Approved)
	}
	if _, err := r.deviceClient(nil).Enrol(ctx, "nord", "b-1", one.Code); err != nil {
		t.Error(err)
	}
	_, err = r.admin("carla").ApproveBatch(ctx, asked.Batch, "")
	refusedWith(t, err, CodeApprovalSelf)
	again, err := r.admin("dora").ApproveBatch(ctx, asked.Batch, "")
	if err != nil || len(again.Approved) != 1 || again.Approved[0].Code == "" {
		t.Fatalf("%+v %v", again, err)
	}
	_, err = r.admin("dora").ApproveBatch(ctx, asked.Batch, "")
	refusedWith(t, err, CodeConflict)
	for data, err := range r.s.led.Entries(controlLog, 0, 1<<62) {
		if err != nil || strings.Contains(string(data), one.Code) {
			t.Fatalf("a code is in the log: %v", err)
		}
	}
}

// TestALongBatch asks for as many devices as one call may.
func TestALongBatch(t *testing.T) {
	r := newRig(t)
	r.tenant("nord")
	var text strings.Builder
	text.WriteString("tenant,device,type,reason\n")
	for i := range maxBatch {
		fmt.Fprintf(&text, "nord,m-%05d,meter,rollout\n", i)
	}
	asked, err := r.admin("ben").RequestDevices(t.Context(), []byte(text.String()), false)
	if err != nil || len(asked.Devices) != maxBatch {
		t.Fatal(len(asked.Devices), err)
	}
	done, err := r.admin("carla").ApproveBatch(t.Context(), asked.Batch, "")
	if err != nil || len(done.Approved) != maxBatch || done.Approved[maxBatch-1].Code == "" {
		t.Fatal(len(done.Approved), err)
	}
}
