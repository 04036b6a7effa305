import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The peer of Kafka's own client: the same flags and the same line of JSON as the Rust peers. */
public final class Peer {
    /** So many parts of the topic after which it is looked at how evenly partitions are served. */
    private static final int LOOKS = 10;
    private static final int KEY = 13;
    private static final int BUFFER_MEMORY = 32 << 20;
    private static final int MAX_REQUEST = 1 << 20;

    private final String work;
    private final String codec;
    private final String variant;
    private final int value;
    private final int partitions;
    private final boolean keyed;
    private final String bootstrap;
    private final String topic;
    private final int records;
    private final int warmUp;
    private final int batchSize;
    private final boolean plant;
    private final byte[][] keys;
    private final byte[][] values;

    private Peer(String[] arguments) throws IOException {
        // --one PEER CASE comes first, then flags with a value each, and perhaps --plant.
        String[] parts = arguments[2].split("-");
        work = parts[0];
        value = Integer.parseInt(parts[1].replace("b", ""));
        codec = parts[2];
        partitions = Integer.parseInt(parts[3].replace("p", ""));
        keyed = parts[4].equals("key");
        variant = parts.length > 5 ? parts[5] : "";
        plant = Arrays.asList(arguments).contains("--plant");
        Map<String, String> flags = new HashMap<>();
        for (int at = 3; at + 1 < arguments.length; at += 2) {
            flags.put(arguments[at], arguments[at + 1]);
        }
        bootstrap = flags.get("--bootstrap");
        topic = flags.get("--topic");
        records = Integer.parseInt(flags.get("--records"));
        warmUp = Integer.parseInt(flags.get("--warm-up"));
        batchSize = Integer.parseInt(flags.get("--batch-size"));
        boolean writes = work.equals("produce") || work.equals("latency");
        byte[] pool = writes ? Files.readAllBytes(Path.of(flags.get("--payloads"))) : new byte[0];
        int count = pool.length / (KEY + value);
        keys = new byte[count][];
        values = new byte[count][];
        for (int index = 0; index < count; index++) {
            int start = index * (KEY + value);
            keys[index] = Arrays.copyOfRange(pool, start, start + KEY);
            values[index] = Arrays.copyOfRange(pool, start + KEY, start + KEY + value);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Peer peer = new Peer(arguments);
        switch (peer.work) {
            case "produce" -> peer.throughput();
            case "latency" -> peer.oneAtATime();
            case "consume" -> peer.consume();
            case "join" -> peer.join();
            default -> throw new IllegalArgumentException("unknown work " + peer.work);
        }
    }

    private KafkaProducer<byte[], byte[]> producer(int linger) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("acks", "all");
        properties.put("enable.idempotence", "true");
        properties.put("compression.type", codec);
        properties.put("compression.gzip.level", "6");
        properties.put("compression.zstd.level", "3");
        properties.put("linger.ms", Integer.toString(linger));
        properties.put("batch.size", Integer.toString(batchSize));
        properties.put("buffer.memory", Integer.toString(BUFFER_MEMORY));
        properties.put("max.request.size", Integer.toString(MAX_REQUEST));
        properties.put("max.in.flight.requests.per.connection", "5");
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private ProducerRecord<byte[], byte[]> record(int index) {
        int at = index % values.length;
        return new ProducerRecord<>(topic, keyed ? keys[at] : null, values[at]);
    }

    private void throughput() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(5)) {
            AtomicLong acknowledged = new AtomicLong();
            AtomicReference<Exception> failure = new AtomicReference<>();
            Callback callback = (metadata, error) -> {
                if (error == null) {
                    acknowledged.incrementAndGet();
                } else {
                    failure.compareAndSet(null, error);
                }
            };
            for (int index = 0; index < warmUp; index++) {
                producer.send(record(index), callback);
            }
            producer.flush();
            long begin = System.nanoTime();
            double cpu = cpuMicros();
            for (int index = warmUp; index < warmUp + records; index++) {
                producer.send(record(index), callback);
            }
            producer.flush();
            double seconds = (System.nanoTime() - begin) / 1e9;
            double used = cpuMicros() - cpu;
            if (failure.get() != null) {
                throw failure.get();
            }
            print(records, acknowledged.get(), seconds, used, "");
        }
    }

    private void oneAtATime() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(0)) {
            for (int index = 0; index < warmUp; index++) {
                producer.send(record(index)).get();
            }
            long[] times = new long[records];
            long begin = System.nanoTime();
            double cpu = cpuMicros();
            for (int index = 0; index < records; index++) {
                long sent = System.nanoTime();
                producer.send(record(warmUp + index)).get();
                times[index] = System.nanoTime() - sent;
            }
            double seconds = (System.nanoTime() - begin) / 1e9;
            double used = cpuMicros() - cpu;
            print(records, warmUp + records, seconds, used, latency(times));
        }
    }

    private static String latency(long[] times) {
        Arrays.sort(times);
        return String.format(
            Locale.ROOT,
            ",\"latency\":{\"p50\":%f,\"p99\":%f,\"p999\":%f,\"max\":%f}",
            at(times, 0.5), at(times, 0.99), at(times, 0.999), at(times, 1));
    }

    private static double at(long[] times, double quantile) {
        return times[Math.min((int) (quantile * times.length), times.length - 1)] / 1000.0;
    }

    private void consume() throws IOException {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("max.partition.fetch.bytes", Integer.toString(1 << 20));
        properties.put("max.poll.records", "10000");
        long begin = System.nanoTime();
        double cpu = cpuMicros();
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            // The idle partition, if there is one, comes behind those that are read.
            int all = variant.equals("idle") ? partitions + 1 : partitions;
            List<TopicPartition> assigned =
                IntStream.range(0, all).mapToObj(partition -> new TopicPartition(topic, partition)).toList();
            consumer.assign(assigned);
            consumer.seekToBeginning(assigned);
            long[] next = new long[partitions];
            long read = 0;
            long step = Math.max(records / LOOKS, 1);
            long look = 2 * step;
            double uneven = 1;
            while (read < records) {
                if (System.nanoTime() - begin > 120_000_000_000L) {
                    throw new IllegalStateException("only " + read + " records within 120 s");
                }
                ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(500));
                for (ConsumerRecord<byte[], byte[]> record : polled) {
                    read++;
                    if (record.offset() != next[record.partition()]++ || record.value().length != value) {
                        throw new IllegalStateException("what came is not what comes next: " + record);
                    }
                }
                if (read >= look && look <= records - step) {
                    double most = Arrays.stream(next).max().orElse(1);
                    double least = Math.max(Arrays.stream(next).min().orElse(1), 1);
                    uneven = Math.max(uneven, most / least);
                    look = (read / step + 1) * step;
                }
            }
            double seconds = (System.nanoTime() - begin) / 1e9;
            String more = String.format(Locale.ROOT, ",\"uneven\":%f", uneven);
            print((int) read, read, seconds, cpuMicros() - cpu, more);
        }
    }

    private void join() throws IOException {
        for (int number = 0; number < warmUp; number++) {
            joinOnce(number);
        }
        long[] times = new long[records];
        long begin = System.nanoTime();
        double cpu = cpuMicros();
        for (int index = 0; index < records; index++) {
            times[index] = joinOnce(warmUp + index);
        }
        double seconds = (System.nanoTime() - begin) / 1e9;
        double used = cpuMicros() - cpu;
        print(records, warmUp + records, seconds, used, latency(times));
    }

    /** Nanoseconds from nothing, not even a connection, to the first record. */
    private long joinOnce(int number) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", topic + "-" + ProcessHandle.current().pid() + "-" + number);
        properties.put("auto.offset.reset", "earliest");
        properties.put("max.partition.fetch.bytes", Integer.toString(1 << 20));
        properties.put("max.poll.records", "10000");
        if (variant.equals("kip848")) {
            properties.put("group.protocol", "consumer");
        } else {
            properties.put(
                "partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        }
        long begin = System.nanoTime();
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (true) {
                ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(500));
                for (ConsumerRecord<byte[], byte[]> first : polled) {
                    long took = System.nanoTime() - begin;
                    if (first.offset() != 0 || first.value().length != value) {
                        throw new IllegalStateException("what came first is not the first record: " + first);
                    }
                    return took;
                }
                if (System.nanoTime() - begin > 30_000_000_000L) {
                    throw new IllegalStateException("no record within 30 s");
                }
            }
        }
    }

    private void print(int measured, long acknowledged, double seconds, double cpu, String latency)
            throws IOException {
        System.out.printf(
            Locale.ROOT,
            "{\"records\":%d,\"acknowledged\":%d,\"seconds\":%f,\"cpu_us\":%f,\"peak_kib\":%d,\"base_kib\":0%s}%n",
            measured, acknowledged + (plant ? 1 : 0), seconds, cpu, peakKib(), latency);
    }

    /** User and system time of the process, the JIT's and the collector's included. */
    private static double cpuMicros() {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1000.0;
    }

    private static long peakKib() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
        }
        throw new IOException("/proc/self/status has no VmHWM");
    }
}
