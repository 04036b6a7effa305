import java.util.Random;

import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.Utils;

/**
 * Prints 10,000 keys, what Kafka's own murmur2 makes of each, and the partition that its producer picks among 1, 6, 12 and 1,000.
 * A line is: the key in hex, the hash, the four partitions, with spaces between. The keys are 0 to 40 bytes long, each
 * length as often as any other, so that every tail behind the last whole word is met.
 */
public final class Murmur2 {
    private static final int KEYS = 10_000;
    private static final int LENGTHS = 41;
    private static final int[] COUNTS = {1, 6, 12, 1_000};

    public static void main(String[] arguments) {
        Random random = new Random(794);
        StringBuilder lines = new StringBuilder();
        for (int number = 0; number < KEYS; number++) {
            byte[] key = new byte[number % LENGTHS];
            random.nextBytes(key);
            for (byte each : key) {
                lines.append(String.format("%02x", each));
            }
            lines.append(' ').append(Utils.murmur2(key));
            for (int count : COUNTS) {
                lines.append(' ').append(BuiltInPartitioner.partitionForKey(key, count));
            }
            lines.append('\n');
        }
        System.out.print(lines);
    }
}
