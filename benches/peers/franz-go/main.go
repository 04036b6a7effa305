// The franz-go peer: the same flags and the same line of JSON as the Rust peers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	keyLength    = 13
	bufferMemory = 32 << 20
	maxRequest   = 1 << 20
	gzipLevel    = 6
	zstdLevel    = 3
	linger       = 5 * time.Millisecond
)

type latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

type sample struct {
	Records      int      `json:"records"`
	Acknowledged int64    `json:"acknowledged"`
	Seconds      float64  `json:"seconds"`
	CPUMicros    float64  `json:"cpu_us"`
	PeakKiB      uint64   `json:"peak_kib"`
	BaseKiB      uint64   `json:"base_kib"`
	Latency      *latency `json:"latency,omitempty"`
	Uneven       *float64 `json:"uneven,omitempty"`
	Pause        *pause   `json:"pause,omitempty"`
}

type job struct {
	work, codec, variant                  string
	value, partitions                     int
	keyed, plant                          bool
	bootstrap, topic                      string
	records, warmUp, batchSize, poolCount int
	pool                                  []byte
}

func main() {
	job, err := parse()
	if err == nil {
		var result *sample
		if result, err = job.run(); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(result)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse() (*job, error) {
	// --one PEER CASE: the flag package takes one value a flag.
	arguments := os.Args[1:]
	if len(arguments) < 3 || arguments[0] != "--one" {
		return nil, errors.New("--one PEER CASE comes first")
	}
	parts := strings.Split(arguments[2], "-")
	if len(parts) != 5 && len(parts) != 6 {
		return nil, fmt.Errorf("%s is no case", arguments[2])
	}
	job := &job{work: parts[0], codec: parts[2], keyed: parts[4] == "key", variant: strings.Join(parts[5:], "")}
	var err error
	if job.value, err = strconv.Atoi(strings.TrimSuffix(parts[1], "b")); err != nil {
		return nil, err
	}
	if job.partitions, err = strconv.Atoi(strings.TrimSuffix(parts[3], "p")); err != nil {
		return nil, err
	}
	flags := flag.NewFlagSet("franz-go", flag.ContinueOnError)
	payloads := flags.String("payloads", "", "")
	flags.StringVar(&job.bootstrap, "bootstrap", "", "")
	flags.StringVar(&job.topic, "topic", "", "")
	flags.IntVar(&job.records, "records", 0, "")
	flags.IntVar(&job.warmUp, "warm-up", 0, "")
	flags.IntVar(&job.batchSize, "batch-size", 0, "")
	flags.BoolVar(&job.plant, "plant", false, "")
	if err := flags.Parse(arguments[3:]); err != nil {
		return nil, err
	}
	if job.work == "produce" || job.work == "latency" {
		if job.pool, err = os.ReadFile(*payloads); err != nil {
			return nil, err
		}
		job.poolCount = len(job.pool) / (keyLength + job.value)
	}
	return job, nil
}

func (j *job) run() (*sample, error) {
	base, err := memory("VmRSS:")
	if err != nil {
		return nil, err
	}
	var result *sample
	switch j.work {
	case "produce":
		result, err = j.throughput()
	case "latency":
		result, err = j.oneAtATime()
	case "consume":
		result, err = j.consume()
	case "join":
		result, err = j.join()
	case "rebalance":
		result, err = j.rebalance()
	default:
		err = fmt.Errorf("unknown work %s", j.work)
	}
	if err != nil {
		return nil, err
	}
	result.BaseKiB = base
	if result.PeakKiB, err = memory("VmHWM:"); err != nil {
		return nil, err
	}
	if j.plant {
		result.Acknowledged++
	}
	return result, nil
}

func (j *job) client(linger time.Duration) (*kgo.Client, error) {
	codec := map[string]kgo.CompressionCodec{
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression().WithLevel(gzipLevel),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression().WithLevel(zstdLevel),
	}[j.codec]
	// franz-go allows an idempotent producer five requests on their way to a broker by itself.
	return kgo.NewClient(
		kgo.SeedBrokers(j.bootstrap),
		kgo.DefaultProduceTopic(j.topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(linger),
		kgo.ProducerBatchMaxBytes(int32(j.batchSize)),
		kgo.MaxBufferedBytes(bufferMemory),
		kgo.MaxBufferedRecords(10_000_000),
	)
}

func (j *job) record(index int) *kgo.Record {
	start := index % j.poolCount * (keyLength + j.value)
	middle, end := start+keyLength, start+keyLength+j.value
	record := &kgo.Record{Value: j.pool[middle:end:end]}
	if j.keyed {
		record.Key = j.pool[start:middle:middle]
	}
	return record
}

func (j *job) throughput() (*sample, error) {
	client, err := j.client(linger)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx := context.Background()
	var acknowledged atomic.Int64
	var once sync.Once
	var failure error
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			once.Do(func() { failure = err })
			return
		}
		acknowledged.Add(1)
	}
	hand := func(from, to int) error {
		for index := from; index < to; index++ {
			client.Produce(ctx, j.record(index), promise)
		}
		if err := client.Flush(ctx); err != nil {
			return err
		}
		return failure
	}
	if err := hand(0, j.warmUp); err != nil {
		return nil, err
	}
	begin, cpu := time.Now(), cpuMicros()
	if err := hand(j.warmUp, j.warmUp+j.records); err != nil {
		return nil, err
	}
	return &sample{
		Records:      j.records,
		Acknowledged: acknowledged.Load(),
		Seconds:      time.Since(begin).Seconds(),
		CPUMicros:    cpuMicros() - cpu,
	}, nil
}

func (j *job) oneAtATime() (*sample, error) {
	client, err := j.client(0)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx := context.Background()
	for index := range j.warmUp {
		if err := client.ProduceSync(ctx, j.record(index)).FirstErr(); err != nil {
			return nil, err
		}
	}
	times := make([]time.Duration, 0, j.records)
	begin, cpu := time.Now(), cpuMicros()
	for index := j.warmUp; index < j.warmUp+j.records; index++ {
		sent := time.Now()
		if err := client.ProduceSync(ctx, j.record(index)).FirstErr(); err != nil {
			return nil, err
		}
		times = append(times, time.Since(sent))
	}
	result := &sample{
		Records:      j.records,
		Acknowledged: int64(j.warmUp + j.records),
		Seconds:      time.Since(begin).Seconds(),
		CPUMicros:    cpuMicros() - cpu,
	}
	result.Latency = quantiles(times)
	return result, nil
}

func quantiles(times []time.Duration) *latency {
	slices.Sort(times)
	at := func(quantile float64) float64 {
		return float64(times[min(int(quantile*float64(len(times))), len(times)-1)].Nanoseconds()) / 1000
	}
	return &latency{P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: at(1)}
}

func cpuMicros() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	micros := func(time syscall.Timeval) float64 { return float64(time.Sec)*1e6 + float64(time.Usec) }
	return micros(usage.Utime) + micros(usage.Stime)
}

func memory(field string) (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, field); found {
			return strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no %s", field)
}
