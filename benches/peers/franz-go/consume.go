package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// So many parts of the topic after which it is looked at how evenly partitions are served.
const looks = 10

func (j *job) consume() (*sample, error) {
	begin, cpu := time.Now(), cpuMicros()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(j.bootstrap),
		kgo.ConsumeTopics(j.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxPartitionBytes(1<<20),
		kgo.FetchMaxWait(500*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	// The idle partition, if there is one, comes behind those that are read.
	next := make([]int64, j.partitions)
	step := int64(j.records / looks)
	look, uneven := 2*step, 1.0
	var read int64
	var wrong error
	for read < int64(j.records) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			read++
			if record.Offset != next[record.Partition] || len(record.Value) != j.value {
				wrong = fmt.Errorf("partition %d gave offset %d with %d bytes", record.Partition, record.Offset, len(record.Value))
			}
			next[record.Partition]++
		})
		if read >= look && look <= int64(j.records)-step {
			uneven = max(uneven, float64(slices.Max(next))/float64(max(slices.Min(next), 1)))
			look = (read/step + 1) * step
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	return &sample{
		Records:      int(read),
		Acknowledged: read,
		Seconds:      time.Since(begin).Seconds(),
		CPUMicros:    cpuMicros() - cpu,
		Uneven:       &uneven,
	}, nil
}
