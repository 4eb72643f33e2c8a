package ingest

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Devices lists the devices of a tenant, or of all where it is empty.
func (c *AdminClient) Devices(ctx context.Context, tenant string) ([]DeviceRecord, error) {
	return c.FindDevices(ctx, DeviceQuery{Tenant: tenant})
}

// FindDevices lists all devices that q asks for, page by page; Limit is of one
// page.
func (c *AdminClient) FindDevices(ctx context.Context, q DeviceQuery) ([]DeviceRecord, error) {
	if q.Limit == 0 {
		q.Limit = maxPage
	}
	var all []DeviceRecord
	for {
		page, err := c.DevicePage(ctx, q)
		if err != nil {
			return all, err
		}
		all = append(all, page.Devices...)
		if q.After = page.Next; page.Next == "" {
			return all, nil
		}
	}
}

// DevicePage lists one page of what q asks for.
func (c *AdminClient) DevicePage(ctx context.Context, q DeviceQuery) (DevicePage, error) {
	var out DevicePage
	err := c.list(ctx, "devices?"+q.values().Encode(), &out)
	return out, err
}

// RequestDevices asks for the devices of a CSV file, all or none; with partial,
// for those whose rows stand. A *Problem says of each row in Rows why not.
func (c *AdminClient) RequestDevices(ctx context.Context, csv []byte, partial bool) (BatchResult, error) {
	var out BatchResult
	err := c.call(ctx, http.MethodPost, adminPath+"device-batches", map[string]any{"csv": string(csv), "partial": partial}, &out)
	return out, err
}

// ApproveBatch consents to all devices of a batch that wait for it.
func (c *AdminClient) ApproveBatch(ctx context.Context, batch, reason string) (BatchApproval, error) {
	var out BatchApproval
	err := c.call(ctx, http.MethodPost, adminPath+"device-batches/"+url.PathEscape(batch)+"/approve", map[string]string{"reason": reason}, &out)
	return out, err
}

// DeclineDevice says no to a request.
func (c *AdminClient) DeclineDevice(ctx context.Context, tenant, device, reason, ticket string) (DeviceRecord, error) {
	return c.decide(ctx, tenant, device, "decline", reason, ticket)
}

// RetireDevice ends this generation of a device in good order.
func (c *AdminClient) RetireDevice(ctx context.Context, tenant, device, reason, ticket string) (DeviceRecord, error) {
	return c.decide(ctx, tenant, device, "retire", reason, ticket)
}

// TransferRequest asks that a device go to another tenant.
type TransferRequest struct {
	ToTenant string `json:"to_tenant"`
	Site     string `json:"site,omitempty"`
	Fleet    string `json:"fleet,omitempty"`
	Reason   string `json:"reason"`
	Ticket   string `json:"ticket,omitempty"`
}

// TransferDevice asks that a device go to another tenant; somebody else decides.
func (c *AdminClient) TransferDevice(ctx context.Context, tenant, device string, r TransferRequest) (DeviceRecord, error) {
	var out DeviceRecord
	err := c.call(ctx, http.MethodPost, devicePath(tenant, device, "transfer"), r, &out)
	return out, err
}

// Transferred is the answer to a consent to a transfer. Code is empty while
// further approvals are needed.
type Transferred struct {
	Code       string    `json:"enrolment_code"`
	Expires    time.Time `json:"expires"`
	Tenant     string    `json:"tenant"`
	Generation int       `json:"generation"`
}

// ApproveTransfer consents to a transfer.
func (c *AdminClient) ApproveTransfer(ctx context.Context, tenant, device, reason string) (Transferred, error) {
	var out Transferred
	err := c.call(ctx, http.MethodPost, devicePath(tenant, device, "transfer/approve"), map[string]string{"reason": reason}, &out)
	return out, err
}

// DeclineTransfer says no to a transfer.
func (c *AdminClient) DeclineTransfer(ctx context.Context, tenant, device, reason, ticket string) (DeviceRecord, error) {
	return c.decide(ctx, tenant, device, "transfer/decline", reason, ticket)
}

// Receipt gives the receipt of the decision that shuts a device out;
// generation 0 is the latest.
func (c *AdminClient) Receipt(ctx context.Context, tenant, device string, generation int) (CutReceipt, error) {
	path := devicePath(tenant, device, "receipt")
	if generation > 0 {
		path += "?generation=" + strconv.Itoa(generation)
	}
	var out CutReceipt
	err := c.call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}
