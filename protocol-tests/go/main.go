// Command franz has franz-go do against a broker what an application would, and checks what comes of it.
//
//	franz [flags] records   writes with every codec and reads the same back
//	franz [flags] group     two members share a topic, one leaves; nothing is handled by nobody
//	franz [flags] copy      copies a topic in transactions, every third of them aborted
//
// It ends with 0 when everything is as it must be, and says on standard error what is not.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// patience bounds each command as a whole.
const patience = time.Minute

// Settings are what every client of a command is made with.
type settings struct {
	bootstrap, topic, user, password, mechanism, ca string
	count                                           int
	next                                            bool
}

func main() {
	var s settings
	flag.StringVar(&s.bootstrap, "bootstrap", "", "host:port of brokers, separated by commas")
	flag.StringVar(&s.topic, "topic", "letters", "the topic that is written to")
	flag.IntVar(&s.count, "count", 3000, "how many records are written")
	flag.BoolVar(&s.next, "next", false, "the group protocol of KIP-848")
	flag.StringVar(&s.mechanism, "mechanism", "", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	flag.StringVar(&s.user, "user", "", "who logs in")
	flag.StringVar(&s.password, "password", "", "with what")
	flag.StringVar(&s.ca, "ca", "", "the file of the certificate that is trusted; speaks TLS")
	flag.Parse()
	commands := map[string]func(context.Context, settings) error{
		"records": records, "group": group, "copy": transactions,
	}
	command, known := commands[flag.Arg(0)]
	if !known {
		fmt.Fprintln(os.Stderr, "franz: records, group or copy?")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := command(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "franz:", err)
		os.Exit(1)
	}
}

// Client makes a client with these options besides.
func (s settings) client(more ...kgo.Opt) (*kgo.Client, error) {
	options := []kgo.Opt{kgo.SeedBrokers(strings.Split(s.bootstrap, ",")...)}
	switch s.mechanism {
	case "":
	case "PLAIN":
		options = append(options, kgo.SASL(plain.Auth{User: s.user, Pass: s.password}.AsMechanism()))
	case "SCRAM-SHA-256":
		options = append(options, kgo.SASL(scram.Auth{User: s.user, Pass: s.password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		options = append(options, kgo.SASL(scram.Auth{User: s.user, Pass: s.password}.AsSha512Mechanism()))
	default:
		return nil, fmt.Errorf("no such mechanism: %s", s.mechanism)
	}
	if s.ca != "" {
		certificate, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(certificate) {
			return nil, errors.New("no certificate in " + s.ca)
		}
		options = append(options, kgo.DialTLSConfig(&tls.Config{RootCAs: pool, ServerName: "localhost"}))
	}
	return kgo.NewClient(append(options, more...)...)
}

// Write produces the numbers from first on, each with itself as key and header, and waits for all of them.
func write(ctx context.Context, client *kgo.Client, topic string, first, count int) error {
	batch := make([]*kgo.Record, count)
	for i := range batch {
		number := []byte(strconv.Itoa(first + i))
		headers := []kgo.RecordHeader{{Key: "number", Value: number}, {Key: "number", Value: nil}}
		batch[i] = &kgo.Record{Topic: topic, Key: number, Value: number, Headers: headers}
	}
	return client.ProduceSync(ctx, batch...).FirstErr()
}

// Number is what write put into a record.
func number(record *kgo.Record) (int, error) {
	n, err := strconv.Atoi(string(record.Value))
	if err != nil {
		return 0, fmt.Errorf("%s/%d@%d: %w", record.Topic, record.Partition, record.Offset, err)
	}
	headers := record.Headers
	if string(record.Key) != string(record.Value) || len(headers) != 2 || string(headers[0].Value) != string(record.Value) ||
		headers[1].Key != "number" || headers[1].Value != nil {
		return 0, fmt.Errorf("%s/%d@%d is not what was written", record.Topic, record.Partition, record.Offset)
	}
	return n, nil
}

// Seen counts numbers.
type seen map[int]int

// Take notes what was polled.
func (s seen) take(fetches kgo.Fetches) error {
	var failed error
	fetches.EachError(func(topic string, partition int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			failed = errors.Join(failed, fmt.Errorf("%s/%d: %w", topic, partition, err))
		}
	})
	fetches.EachRecord(func(record *kgo.Record) {
		n, err := number(record)
		failed = errors.Join(failed, err)
		s[n]++
	})
	return failed
}

// Once fails unless each of the first count numbers was seen exactly once.
func (s seen) once(count int) error {
	for n := range count {
		if s[n] != 1 {
			return fmt.Errorf("%d was seen %d times", n, s[n])
		}
	}
	if len(s) != count {
		return fmt.Errorf("%d numbers were seen, %d were written", len(s), count)
	}
	return nil
}

// Poll polls until count different numbers were seen, and a little longer: there must be no more.
func poll(ctx context.Context, client *kgo.Client, into seen, count int) error {
	for len(into) < count {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%d of %d numbers were seen: %w", len(into), count, err)
		}
		if err := into.take(client.PollFetches(ctx)); err != nil {
			return err
		}
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	return into.take(client.PollFetches(short))
}

func records(ctx context.Context, s settings) error {
	codecs := []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	}
	for i, codec := range codecs {
		producer, err := s.client(kgo.ProducerBatchCompression(codec))
		if err != nil {
			return err
		}
		// Producing tries on for as long as it may where a broker does not let it in; this does not.
		if err = producer.Ping(ctx); err == nil {
			err = write(ctx, producer, s.topic, i*s.count, s.count)
		}
		producer.Close()
		if err != nil {
			return fmt.Errorf("codec %d: %w", i, err)
		}
	}
	consumer, err := s.client(kgo.ConsumeTopics(s.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer consumer.Close()
	read := seen{}
	if err := poll(ctx, consumer, read, len(codecs)*s.count); err != nil {
		return err
	}
	return read.once(len(codecs) * s.count)
}

func group(ctx context.Context, s settings) error {
	producer, err := s.client()
	if err != nil {
		return err
	}
	defer producer.Close()
	member := func() (*kgo.Client, error) {
		options := []kgo.Opt{kgo.ConsumerGroup("readers"), kgo.ConsumeTopics(s.topic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(200 * time.Millisecond)}
		if s.next {
			options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
		}
		return s.client(options...)
	}
	one, err := member()
	if err != nil {
		return err
	}
	defer one.Close()
	other, err := member()
	if err != nil {
		return err
	}
	handled := seen{}
	var byOne, byOther int
	// Both poll in turn until both have had something: the partitions are shared.
	for written := 0; byOne == 0 || byOther == 0 || len(handled) < written; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the members had %d and %d of %d numbers: %w", byOne, byOther, written, err)
		}
		if written < s.count || byOne == 0 || byOther == 0 {
			if err := write(ctx, producer, s.topic, written, 100); err != nil {
				return err
			}
			written += 100
		}
		for client, count := range map[*kgo.Client]*int{one: &byOne, other: &byOther} {
			short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			fetches := client.PollFetches(short)
			cancel()
			if err := handled.take(fetches); err != nil {
				return err
			}
			*count += fetches.NumRecords()
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				return fmt.Errorf("commit: %w", err)
			}
		}
	}
	total := len(handled)
	// What one leaves, the other goes on with where the commits say.
	other.Close()
	if err := write(ctx, producer, s.topic, total, s.count); err != nil {
		return err
	}
	if err := poll(ctx, one, handled, total+s.count); err != nil {
		return err
	}
	if err := one.CommitUncommittedOffsets(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for n := range total + s.count {
		if handled[n] == 0 {
			return fmt.Errorf("%d was handled by nobody", n)
		}
	}
	return nil
}

func transactions(ctx context.Context, s settings) error {
	producer, err := s.client()
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := write(ctx, producer, s.topic, 0, s.count); err != nil {
		return err
	}
	options := []kgo.Opt{kgo.SeedBrokers(strings.Split(s.bootstrap, ",")...), kgo.TransactionalID("copier"), kgo.ConsumerGroup("copiers"),
		kgo.ConsumeTopics(s.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RequireStableFetchOffsets(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted())}
	session, err := kgo.NewGroupTransactSession(options...)
	if err != nil {
		return err
	}
	defer session.Close()
	for turn, copied := 0, 0; copied < s.count; turn++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%d of %d records were copied: %w", copied, s.count, err)
		}
		fetches := session.PollRecords(ctx, 200)
		if err := fetches.Err(); err != nil {
			return err
		}
		if err := session.Begin(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			copy := &kgo.Record{Topic: s.topic + "-copies", Key: record.Key, Value: record.Value, Headers: record.Headers}
			session.Produce(ctx, copy, nil)
		})
		// What is to be aborted shall be in the log: without this it would not leave the client.
		if err := session.Client().Flush(ctx); err != nil {
			return err
		}
		committed, err := session.End(ctx, kgo.TransactionEndTry(turn%3 != 1))
		if err != nil {
			return fmt.Errorf("the end of transaction %d: %w", turn, err)
		}
		if committed {
			copied += fetches.NumRecords()
		}
	}
	reader, err := s.client(kgo.ConsumeTopics(s.topic+"-copies"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer reader.Close()
	read := seen{}
	if err := poll(ctx, reader, read, s.count); err != nil {
		return err
	}
	if err := read.once(s.count); err != nil {
		return err
	}
	// The aborted copies are in the log all the same.
	all, err := s.client(kgo.ConsumeTopics(s.topic+"-copies"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer all.Close()
	everything := seen{}
	if err := poll(ctx, all, everything, s.count); err != nil {
		return err
	}
	twice := 0
	for _, count := range everything {
		if count > 1 {
			twice++
		}
	}
	if twice == 0 {
		return errors.New("nothing of the aborted transactions is in the log: none was aborted")
	}
	return nil
}
