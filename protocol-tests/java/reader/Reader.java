import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;

import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Reads topics from their beginning to the end they have when it starts, and prints a record a line: topic, partition,
 * offset and value, with tabs between.
 *
 * <p>For readers of committed records the end is the last stable offset: to get there, all before it must be decided.
 *
 * <p>java -cp "LIBS/*" Reader.java BOOTSTRAP ISOLATION TOPIC...
 */
public final class Reader {
    /** How long there may be no progress. */
    private static final Duration PATIENCE = Duration.ofSeconds(90);

    private Reader() {
    }

    public static void main(String[] arguments) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("isolation.level", arguments[1]);
        settings.put("auto.offset.reset", "none");
        settings.put("enable.auto.commit", "false");
        settings.put("max.poll.records", "5000");
        PrintStream out = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (int at = 2; at < arguments.length; at++) {
                consumer.partitionsFor(arguments[at])
                        .forEach(found -> partitions.add(new TopicPartition(found.topic(), found.partition())));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            read(consumer, consumer.endOffsets(partitions), out);
        }
        out.flush();
    }

    private static void read(
            KafkaConsumer<String, String> consumer, Map<TopicPartition, Long> ends, PrintStream out) {
        long progress = System.nanoTime();
        long reached = -1;
        while (!ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue())) {
            for (var read : consumer.poll(Duration.ofSeconds(1))) {
                out.print(read.topic() + "\t" + read.partition() + "\t" + read.offset() + "\t" + read.value() + "\n");
            }
            long now = ends.keySet().stream().mapToLong(consumer::position).sum();
            if (now > reached) {
                reached = now;
                progress = System.nanoTime();
            } else if (System.nanoTime() - progress > PATIENCE.toNanos()) {
                throw new IllegalStateException("stuck before " + ends + ", at " + reached + " in sum");
            }
        }
    }
}
