package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// Digits of the time that the values of a steady producer begin with.
	digits = 20
	// How long the group may take to share the partitions out evenly, and how long it is left alone once it has.
	settleLimit = 45 * time.Second
	quiet       = 3 * time.Second
	// Who has given nothing of a partition for this long does not have it.
	recent = 500 * time.Millisecond
	look   = 50 * time.Millisecond
)

type pause struct {
	Partitions int     `json:"partitions"`
	Gap        float64 `json:"gap"`
	QuietGap   float64 `json:"quiet_gap"`
	Delay      float64 `json:"delay"`
	QuietDelay float64 `json:"quiet_delay"`
}

// A member that commits by itself and starts at the earliest record. With KIP-848 the balancer names what the broker does.
func (j *job) member(group string) (*kgo.Client, error) {
	protocol := []kgo.GroupOpt{kgo.Balancers(kgo.CooperativeStickyBalancer())}
	if j.variant == "kip848" {
		protocol = []kgo.GroupOpt{kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer()}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(j.bootstrap),
		kgo.ConsumeTopics(j.topic),
		kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxPartitionBytes(1 << 20),
		kgo.FetchMaxWait(500 * time.Millisecond),
	}
	for _, option := range protocol {
		options = append(options, option)
	}
	return kgo.NewClient(options...)
}

func (j *job) join() (*sample, error) {
	for number := range j.warmUp {
		if _, err := j.joinOnce(number); err != nil {
			return nil, err
		}
	}
	times := make([]time.Duration, 0, j.records)
	begin, cpu := time.Now(), cpuMicros()
	for number := j.warmUp; number < j.warmUp+j.records; number++ {
		took, err := j.joinOnce(number)
		if err != nil {
			return nil, err
		}
		times = append(times, took)
	}
	return &sample{
		Records:      j.records,
		Acknowledged: int64(j.warmUp + j.records),
		Seconds:      time.Since(begin).Seconds(),
		CPUMicros:    cpuMicros() - cpu,
		Latency:      quantiles(times),
	}, nil
}

// From nothing, not even a connection, to the first record.
func (j *job) joinOnce(number int) (time.Duration, error) {
	begin := time.Now()
	client, err := j.member(fmt.Sprintf("%s-%d-%d", j.topic, os.Getpid(), number))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		if fetches.NumRecords() > 0 {
			took := time.Since(begin)
			if first := fetches.Records()[0]; first.Offset != 0 || len(first.Value) != j.value {
				return 0, fmt.Errorf("what came first is offset %d with %d bytes", first.Offset, len(first.Value))
			}
			return took, nil
		}
	}
}

// A record that was handed out. Times are microseconds since 1970.
type arrival struct {
	member      int
	partition   int32
	offset      int64
	written, at int64
}

type arrivals struct {
	lock sync.Mutex
	log  []arrival
}

type reading struct {
	stop  context.CancelFunc
	ended chan error
}

func (j *job) read(member int, seen *arrivals) *reading {
	ctx, cancel := context.WithCancel(context.Background())
	reading := &reading{stop: cancel, ended: make(chan error, 1)}
	go func() { reading.ended <- j.readUntil(ctx, member, seen) }()
	return reading
}

func (j *job) readUntil(ctx context.Context, member int, seen *arrivals) error {
	client, err := j.member(j.topic)
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		var wrong error
		fetches.EachRecord(func(record *kgo.Record) {
			written, err := int64(0), error(nil)
			if len(record.Value) >= digits {
				written, err = strconv.ParseInt(string(record.Value[:digits]), 10, 64)
			}
			if err != nil || written == 0 {
				wrong = errors.New("a record does not say when it was written")
			}
			seen.lock.Lock()
			seen.log = append(seen.log, arrival{member, record.Partition, record.Offset, written, time.Now().UnixMicro()})
			seen.lock.Unlock()
		})
		if wrong != nil {
			return wrong
		}
	}
}

func (r *reading) end() error {
	r.stop()
	return <-r.ended
}

// Two members read, a third comes and goes.
func (j *job) rebalance() (*sample, error) {
	seen := &arrivals{}
	first, second := j.read(0, seen), j.read(1, seen)
	if err := j.settle(seen, first, second); err != nil {
		return nil, err
	}
	begun, begin, cpu := time.Now().UnixMicro(), time.Now(), cpuMicros()
	time.Sleep(quiet)
	change := time.Now().UnixMicro()
	third := j.read(2, seen)
	if err := j.settle(seen, first, second, third); err != nil {
		return nil, err
	}
	time.Sleep(quiet)
	if err := third.end(); err != nil {
		return nil, err
	}
	if err := j.settle(seen, first, second); err != nil {
		return nil, err
	}
	time.Sleep(quiet)
	seconds, used := time.Since(begin).Seconds(), cpuMicros()-cpu
	if err := errors.Join(first.end(), second.end()); err != nil {
		return nil, err
	}
	var measured []arrival
	for _, arrival := range seen.log {
		if arrival.at >= begun {
			measured = append(measured, arrival)
		}
	}
	pause, err := worst(measured, change)
	if err != nil {
		return nil, err
	}
	return &sample{
		Records:      len(measured),
		Acknowledged: int64(len(measured)),
		Seconds:      seconds,
		CPUMicros:    used,
		Pause:        pause,
	}, nil
}

// Waits until each member has its share of the partitions and none is read by two.
func (j *job) settle(seen *arrivals, members ...*reading) error {
	for deadline := time.Now().Add(settleLimit); time.Now().Before(deadline); time.Sleep(look) {
		held, total := seen.held(time.Now().Add(-recent).UnixMicro()), 0
		even := len(held) == len(members)
		for _, partitions := range held {
			total += len(partitions)
			even = even && len(partitions) == j.partitions/len(members)
		}
		if even && total == j.partitions {
			return nil
		}
		for _, member := range members {
			select {
			case err := <-member.ended:
				return fmt.Errorf("a member has ended: %w", err)
			default:
			}
		}
	}
	return errors.New("partitions are not shared out evenly in time")
}

// The partitions of which each member has given something lately.
func (a *arrivals) held(since int64) map[int]map[int32]bool {
	a.lock.Lock()
	defer a.lock.Unlock()
	held := map[int]map[int32]bool{}
	for index := len(a.log) - 1; index >= 0 && a.log[index].at >= since; index-- {
		member := a.log[index].member
		if held[member] == nil {
			held[member] = map[int32]bool{}
		}
		held[member][a.log[index].partition] = true
	}
	return held
}

// The worst of the partitions that one member has had all the time, before the change and after it. Each of their records
// must have come once.
func worst(log []arrival, change int64) (*pause, error) {
	byPartition := map[int32][]arrival{}
	for _, arrival := range log {
		byPartition[arrival.partition] = append(byPartition[arrival.partition], arrival)
	}
	result := &pause{}
	for partition, log := range byPartition {
		one := true
		for _, arrival := range log {
			one = one && arrival.member == log[0].member
		}
		if !one {
			continue
		}
		result.Partitions++
		for index, arrival := range log {
			gap, delay := &result.QuietGap, &result.QuietDelay
			if arrival.at >= change {
				gap, delay = &result.Gap, &result.Delay
			}
			*delay = max(*delay, float64(arrival.at-arrival.written)/1e3)
			if index == 0 {
				continue
			}
			before := log[index-1]
			if arrival.offset != before.offset+1 {
				return nil, fmt.Errorf("partition %d gave offset %d behind %d", partition, arrival.offset, before.offset)
			}
			*gap = max(*gap, float64(arrival.at-before.at)/1e3)
		}
		if log[len(log)-1].at < change {
			return nil, fmt.Errorf("partition %d has given nothing since the rebalance", partition)
		}
	}
	if result.Partitions == 0 {
		return nil, errors.New("no partition has stayed with its member")
	}
	return result, nil
}
