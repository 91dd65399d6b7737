//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A topic is grown, and later deleted and created again with as many partitions as at first. Members of a
// group go on to own the others, which are nowhere, and nobody takes them away.
func TestATopicCreatedAgainWithFewerPartitions(t *testing.T) {
	t.Parallel()
	for name, instance := range map[string]string{"members that come and go": "", "members with a name": "GROUP_INSTANCE_ID="} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, k := newStore(t), newTopic(t, 8)
			var workers []*running
			for i := range 2 {
				var settings []string
				if instance != "" {
					settings = append(settings, fmt.Sprint(instance, i))
				}
				workers = append(workers, s.startWorker(k, settings...))
			}
			for _, w := range workers {
				w.waitForPartitions()
			}
			k.grow(12)
			eventually(t, time.Minute, func() string {
				for _, w := range workers {
					if assignedLast.MatchString(w.log.String()) {
						return ""
					}
				}
				return "nobody has partition 11"
			})
			k.delete()
			k.create(8)
			created := time.Now()

			// Each is well for longer than it takes to notice that it is not.
			var well time.Time
			eventually(t, time.Minute, func() string {
				for i, w := range workers {
					if problems := w.problems(); problems != "" {
						well = time.Time{}
						return fmt.Sprintf("worker %d: %s", i, problems)
					}
				}
				if well.IsZero() {
					well = time.Now()
				}
				if time.Since(well) < 3*watchInterval {
					return "both workers are well, but not for long"
				}
				return ""
			})
			t.Logf("well %.1f s after the topic was created again", well.Sub(created).Seconds())
			for range 20 {
				k.produce(s.accept(s.wallet(), 5, -3)...)
			}
			s.waitApplied()
			s.waitCommitted(k, 40)
			s.audit()
		})
	}
}

var assignedLast = regexp.MustCompile(`"partitions assigned","partitions":\[[^\]]*\b11\b`)

// problems is what /readyz says is amiss.
func (w *running) problems() string {
	w.Helper()
	started := regexp.MustCompile(`"admin":"([^"]+)"`).FindStringSubmatch(w.log.String())
	if started == nil {
		return "not started"
	}
	response, err := http.Get("http://" + started[1] + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	var answer struct{ Degraded, Reasons []string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err.Error()
	}
	return strings.Join(append(answer.Degraded, answer.Reasons...), "; ")
}

func (k *topic) grow(partitions int32) {
	k.Helper()
	request := kmsg.NewPtrCreatePartitionsRequest()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = k.name, partitions
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(k.Context(), k.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		k.Fatal(err)
	}
}

func (k *topic) delete() {
	k.Helper()
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.TopicNames = []string{k.name}
	remove.Topics = append(remove.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &k.name})
	response, err := remove.RequestWith(k.Context(), k.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		k.Fatal(err)
	}
}

func (k *topic) create(partitions int32) {
	k.Helper()
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = k.name, partitions, 1
	create.Topics = append(create.Topics, topic)
	eventually(k, 20*time.Second, func() string {
		response, err := create.RequestWith(k.Context(), k.client)
		if err == nil {
			err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
}
