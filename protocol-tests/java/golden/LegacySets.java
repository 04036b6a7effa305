package golden;

import java.nio.ByteBuffer;
import java.util.Random;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.ByteBufferOutputStream;

/** Message sets as they were before record batches: magic 0 and 1, plain or one compressed message around several. */
final class LegacySets {
    private final Random random;
    private final Values values;

    LegacySets(Random random) {
        this.random = random;
        this.values = new Values(random);
    }

    byte[] set(byte magic, String codec) {
        boolean atAppend = magic == RecordBatch.MAGIC_VALUE_V1 && random.nextInt(3) == 0;
        TimestampType type = magic == RecordBatch.MAGIC_VALUE_V0 ? TimestampType.NO_TIMESTAMP_TYPE
            : atAppend ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME;
        long now = 1_400_000_000_000L + random.nextInt(1 << 30);
        long offset = new Batches(random).offset();
        ByteBufferOutputStream stream = new ByteBufferOutputStream(512);
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(stream, magic,
            Compression.of(codec).build(), type, offset, atAppend ? now : RecordBatch.NO_TIMESTAMP,
            RecordBatch.NO_PRODUCER_ID, RecordBatch.NO_PRODUCER_EPOCH,
            RecordBatch.NO_SEQUENCE, false, false, RecordBatch.NO_PARTITION_LEADER_EPOCH, 1 << 20);
        for (int left = 1 + random.nextInt(5); left > 0; left--) {
            offset += values.once(4) ? random.nextInt(5) : 0;
            long timestamp = magic == RecordBatch.MAGIC_VALUE_V0 ? RecordBatch.NO_TIMESTAMP
                : now - random.nextInt(10_000);
            builder.appendWithOffset(offset++, timestamp, nullable(), nullable());
        }
        ByteBuffer buffer = builder.build().buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }

    private byte[] nullable() {
        return values.once(5) ? null : values.once(5) ? new byte[0] : values.bytes(true);
    }
}
