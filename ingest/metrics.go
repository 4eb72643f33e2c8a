package ingest

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are for Prometheus. Labels are bounded: problem codes, tenants and
// four outcomes; never devices.
type metrics struct {
	registry *prometheus.Registry
	events   *prometheus.CounterVec
	refusals *prometheus.CounterVec
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trustpack_ingest_events_total", Help: "Events by tenant and what became of them.",
		}, []string{"tenant", "outcome"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trustpack_ingest_refusals_total", Help: "Requests, handshakes and lines refused, by problem code.",
		}, []string{"code"}),
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	m.registry.MustRegister(m.events, m.refusals, collectors.NewGoCollector(),
		gauge("trustpack_ingest_connections", "Open connections.", func() float64 { return float64(s.sessions.count()) }),
		gauge("trustpack_ingest_durable", "1 while the ingest can make things durable.", func() float64 {
			if s.durable() != nil {
				return 0
			}
			return 1
		}),
		gauge("trustpack_ingest_open_alerts", "Alerts that are not resolved.", func() float64 {
			s.st.mu.RLock()
			defer s.st.mu.RUnlock()
			n := 0
			for _, a := range s.st.alerts {
				if a.ResolvedAt == nil {
					n++
				}
			}
			return float64(n)
		}),
		gauge("trustpack_ingest_alerts_undelivered", "Events of alerts that could not be told to a webhook or as an issue, and were given up.", func() float64 { return float64(s.st.deliveries(DeliveryUndelivered)) }),
		gauge("trustpack_ingest_alerts_waiting", "Events of alerts that are on their way out.", func() float64 { return float64(s.st.deliveries(DeliveryWaiting)) }),
		gauge("trustpack_ingest_devices", "Devices in the registry, all generations.", func() float64 {
			s.st.mu.RLock()
			defer s.st.mu.RUnlock()
			return float64(len(s.st.devices))
		}),
		gauge("trustpack_ingest_control_entries", "Entries in the control log.", func() float64 { return float64(s.led.Size(controlLog)) }),
	)
	for _, k := range s.apart.keepers() {
		by := prometheus.Labels{"by": k.name}
		m.registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "trustpack_ingest_checkpoints_kept", Help: "1 while the last attempt to keep checkpoints apart, with a witness or in a copy, went well.", ConstLabels: by,
			}, func() float64 {
				k.mu.Lock()
				defer k.mu.Unlock()
				if k.state == heldAgrees || k.state == heldFirstUse {
					return 1
				}
				return 0
			}),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "trustpack_ingest_checkpoints_kept_behind_entries", Help: "Entries of all logs that no checkpoint covers which is kept apart.", ConstLabels: by,
			}, func() float64 {
				behind := int64(0)
				for _, log := range s.led.Logs() {
					behind += s.led.Size(log) - s.apart.kept(log)[k.name]
				}
				return float64(behind)
			}),
		)
	}
	return m
}

func (m *metrics) refused(code Code) { m.refusals.WithLabelValues(string(code)).Inc() }

func (m *metrics) lines(t *tenant, n counts) {
	for i, n := range [...]int64{n.accepted, n.duplicate, n.deadLettered, n.refused} {
		if n == 0 {
			continue
		}
		c := t.counters[i].Load()
		if c == nil {
			found := m.events.WithLabelValues(t.ID, [...]string{lineAccepted, lineDuplicate, lineDeadLettered, lineRefused}[i])
			c = &found
			t.counters[i].Store(c)
		}
		(*c).Add(float64(n))
	}
}
