package ingest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
)

func TestDevicesAreFoundPageByPage(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	var all []string
	for _, tenant := range []string{"nord", "sued", "nord-2"} {
		r.tenant(tenant)
		for i := range 7 {
			id := fmt.Sprintf("m-%d", i)
			if i >= 5 {
				id = fmt.Sprintf("n-%d", i)
			}
			r.request(tenant, id, func(q *DeviceRequest) {
				q.Fleet, q.Site, q.Type = fmt.Sprint("f", i%2), fmt.Sprint("s", i%3), []string{"meter", "gateway"}[i%2]
			})
			all = append(all, tenant+"/"+id+"/1")
		}
	}
	if _, err := r.admin("ben").RevokeDevice(ctx, "nord", "m-3", "again", ""); err != nil {
		t.Fatal(err)
	}
	r.request("nord", "m-3")
	all = append(all, "nord/m-3/2")
	slices.SortFunc(all, func(a, b string) int {
		x, _ := readPlace(a)
		y, _ := readPlace(b)
		return x.compare(y)
	})
	want := func(keep func(tenant, id string) bool) (out []string) {
		for _, place := range all {
			k, _ := readPlace(place)
			if keep(k.tenant, k.id) {
				out = append(out, place)
			}
		}
		return out
	}
	number := func(id string) int { return int(id[2] - '0') }
	for name, c := range map[string]struct {
		q    DeviceQuery
		want []string
	}{
		"all":           {DeviceQuery{}, all},
		"tenant":        {DeviceQuery{Tenant: "nord"}, want(func(tenant, _ string) bool { return tenant == "nord" })},
		"no tenant":     {DeviceQuery{Tenant: "west"}, nil},
		"prefix":        {DeviceQuery{Prefix: "n-"}, want(func(_, id string) bool { return id[0] == 'n' })},
		"tenant prefix": {DeviceQuery{Tenant: "nord", Prefix: "m-3"}, want(func(tenant, id string) bool { return tenant == "nord" && id == "m-3" })},
		"past the last": {DeviceQuery{Tenant: "nord", Prefix: "z"}, nil},
		"state":         {DeviceQuery{State: evidence.DeviceRevoked}, []string{"nord/m-3/1"}},
		"fleet":         {DeviceQuery{Tenant: "sued", Fleet: "f1"}, want(func(tenant, id string) bool { return tenant == "sued" && number(id)%2 == 1 })},
		"site":          {DeviceQuery{Tenant: "sued", Site: "s1"}, want(func(tenant, id string) bool { return tenant == "sued" && number(id)%3 == 1 })},
		"type":          {DeviceQuery{Tenant: "sued", Type: "gateway"}, want(func(tenant, id string) bool { return tenant == "sued" && number(id)%2 == 1 })},
		"transfer":      {DeviceQuery{Transfer: true}, nil},
	} {
		for _, limit := range []int{0, 1, 2, 3, 1000} {
			c.q.Limit = limit
			var got []string
			found, err := r.admin("erin").FindDevices(ctx, c.q)
			for _, d := range found {
				got = append(got, fmt.Sprintf("%s/%s/%d", d.Tenant, d.ID, d.Generation))
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s, %d a page: %v\n%v\nwant\n%v", name, limit, err, got, c.want)
			}
		}
	}
	// A page is no longer than asked for, and the last says so.
	page, err := r.admin("erin").DevicePage(ctx, DeviceQuery{Tenant: "nord", Limit: 3})
	if err != nil || len(page.Devices) != 3 || page.Next != "nord/m-2/1" {
		t.Errorf("%d %q %v", len(page.Devices), page.Next, err)
	}
	if page, err = r.admin("erin").DevicePage(ctx, DeviceQuery{Tenant: "nord", Limit: 8}); err != nil || len(page.Devices) != 8 || page.Next != "" {
		t.Errorf("%d %q %v", len(page.Devices), page.Next, err)
	}
	// Without a limit the whole list comes at once, as it always did.
	text, err := r.admin("erin").Get(ctx, "/v1/admin/devices")
	var whole DevicePage
	if err != nil || json.Unmarshal(text, &whole) != nil || len(whole.Devices) != len(all) || whole.Next != "" {
		t.Errorf("%d of %d devices, %v", len(whole.Devices), len(all), err)
	}
	// What comes between two pages is neither lost nor does it move others.
	first, err := r.admin("erin").DevicePage(ctx, DeviceQuery{Tenant: "sued", Limit: 4})
	if err != nil {
		t.Fatal(err)
	}
	r.request("sued", "a-early")
	r.request("sued", "z-late")
	rest, err := r.admin("erin").DevicePage(ctx, DeviceQuery{Tenant: "sued", Limit: 100, After: first.Next})
	if err != nil || len(rest.Devices) != 4 || rest.Devices[0].ID != "m-4" || rest.Devices[3].ID != "z-late" {
		t.Errorf("%+v %v", rest, err)
	}
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "state=broken", "after=nord", "after=a/b/c", "after=a/b/0", "transfer=yes"} {
		_, err := r.admin("erin").Get(ctx, "/v1/admin/devices?"+bad)
		refusedWith(t, err, CodeInvalid)
	}
	if _, err := r.admin("erin").Get(ctx, "/v1/admin/devices?"+url.Values{"tenant": {strings.Repeat("x", 300)}}.Encode()); err != nil {
		t.Error(err)
	}
}
