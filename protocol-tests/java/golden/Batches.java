package golden;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.ByteBufferOutputStream;

/** Random record batches of magic 2, each kind of them that a log can hold. */
final class Batches {
    private static final long YEAR_2023 = 1_700_000_000_000L;

    private final Random random;
    private final Values values;

    Batches(Random random) {
        this.random = random;
        this.values = new Values(random);
    }

    /** As a producer sends it: offsets from 0 without gaps, idempotent or not. */
    byte[] produced(String codec) {
        Settings settings = new Settings(codec);
        if (random.nextBoolean()) {
            settings.idempotent(random.nextInt(1 << 20));
        }
        return build(settings, 0, false);
    }

    /** As a leader has appended it, with the producer's timestamps. */
    byte[] appended(String codec) {
        Settings settings = new Settings(codec);
        settings.epoch = random.nextInt(100);
        settings.transactional = random.nextInt(3) == 0;
        if (settings.transactional || random.nextBoolean()) {
            settings.idempotent(random.nextInt(1 << 20));
        }
        return build(settings, offset(), false);
    }

    /** Every record has the time at which the leader appended the batch. */
    byte[] logAppendTime(String codec) {
        Settings settings = new Settings(codec);
        settings.timestampType = TimestampType.LOG_APPEND_TIME;
        settings.logAppendTime = YEAR_2023 + random.nextInt(1 << 30);
        return build(settings, offset(), false);
    }

    /** Compaction has taken records away: in front, in between, behind. */
    byte[] compacted(String codec) {
        Settings settings = new Settings(codec);
        settings.idempotent(random.nextInt(1 << 20));
        return build(settings, offset(), true);
    }

    /** Compaction has met a tombstone or marker: the base timestamp is the time from which it may be deleted. */
    byte[] deleteHorizon(String codec) {
        Settings settings = new Settings(codec);
        settings.deleteHorizon = YEAR_2023 + random.nextInt(1 << 30);
        return build(settings, offset(), true);
    }

    /** The sequence numbers pass the greatest one and go on at 0. */
    byte[] sequenceWrap(String codec) {
        Settings settings = new Settings(codec);
        settings.atLeast = 3;
        settings.idempotent(Integer.MAX_VALUE - random.nextInt(3));
        return build(settings, offset(), false);
    }

    /** Compaction has taken every record; what stays is for the producer's state. */
    byte[] empty() {
        ByteBuffer buffer = ByteBuffer.allocate(DefaultRecordBatch.RECORD_BATCH_OVERHEAD);
        long base = offset();
        boolean control = random.nextInt(3) == 0;
        DefaultRecordBatch.writeEmptyHeader(buffer, RecordBatch.MAGIC_VALUE_V2, random.nextInt(1 << 30),
            (short) random.nextInt(1 << 15), control ? -1 : random.nextInt(1 << 20), base, base + random.nextInt(50),
            random.nextInt(100), TimestampType.CREATE_TIME, YEAR_2023 + random.nextInt(1 << 30),
            control || random.nextBoolean(), control);
        return buffer.array();
    }

    long offset() {
        return switch (random.nextInt(4)) {
            case 0 -> 0;
            case 1 -> random.nextInt(1000);
            case 2 -> Integer.MAX_VALUE - 2L;
            default -> random.nextLong() >>> 2;
        };
    }

    /** What a batch has besides its records. */
    private final class Settings {
        final String codec;
        TimestampType timestampType = TimestampType.CREATE_TIME;
        long logAppendTime = RecordBatch.NO_TIMESTAMP;
        long producerId = RecordBatch.NO_PRODUCER_ID;
        short producerEpoch = RecordBatch.NO_PRODUCER_EPOCH;
        int sequence = RecordBatch.NO_SEQUENCE;
        boolean transactional;
        int epoch = RecordBatch.NO_PARTITION_LEADER_EPOCH;
        long deleteHorizon = RecordBatch.NO_TIMESTAMP;
        int atLeast = 1;

        Settings(String codec) {
            this.codec = codec;
        }

        void idempotent(int firstSequence) {
            producerId = random.nextLong() >>> (1 + random.nextInt(60));
            producerEpoch = (short) random.nextInt(1 << 15);
            sequence = firstSequence;
        }
    }

    private byte[] build(Settings settings, long base, boolean gaps) {
        ByteBufferOutputStream stream = new ByteBufferOutputStream(512);
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(stream, RecordBatch.MAGIC_VALUE_V2,
            Compression.of(settings.codec).build(), settings.timestampType, base, settings.logAppendTime,
            settings.producerId, settings.producerEpoch, settings.sequence, settings.transactional, false,
            settings.epoch, 1 << 20, settings.deleteHorizon);
        long offset = base;
        for (int left = settings.atLeast + random.nextInt(6); left > 0; left--) {
            offset += gaps ? random.nextInt(4) : 0;
            builder.appendWithOffset(offset, record());
            offset++;
        }
        if (gaps && random.nextBoolean()) {
            builder.overrideLastOffset(offset + random.nextInt(20));
        }
        return bytes(builder.build().buffer());
    }

    private SimpleRecord record() {
        // Timestamps may go back; both a long way and past what 32 bits hold.
        long timestamp = values.once(12) ? random.nextLong() >>> 8 : YEAR_2023 + random.nextInt(10_000);
        return new SimpleRecord(timestamp, nullable(), nullable(), headers());
    }

    /** Null, empty, short, compressible, or so long that its length takes another byte. */
    private byte[] nullable() {
        return switch (random.nextInt(7)) {
            case 0 -> null;
            case 1 -> new byte[0];
            case 2 -> "{\"order\":17,\"text\":\"ünïcödé\"}".repeat(1 + random.nextInt(8))
                .getBytes(StandardCharsets.UTF_8);
            case 3 -> values.bytes(true);
            default -> values.bytes(false);
        };
    }

    private Header[] headers() {
        List<Header> headers = new ArrayList<>();
        for (int left = Math.max(0, random.nextInt(7) - 3); left > 0; left--) {
            String key = values.once(6) ? "" : values.once(3) ? values.text(false) : "source";
            headers.add(new RecordHeader(key, nullable()));
            if (values.once(3)) {
                headers.add(new RecordHeader(key, nullable()));
            }
        }
        return headers.toArray(new Header[0]);
    }

    private static byte[] bytes(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }
}
