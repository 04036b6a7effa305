package golden;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;

/** The lines about buffers of record batches and of legacy message sets. */
final class BatchLines {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    /** What each codec occurs in; the others are not compressed by anybody. */
    private static final List<String> COMPRESSIBLE = List.of("produced", "appended", "logAppendTime", "compacted",
        "deleteHorizon", "sequenceWrap");
    private static final List<String> PLAIN = List.of("empty", "endOfTransaction", "quorum");
    private static final int ROUNDS = 3;
    private static final int MIXED = 40;
    private static final int CUT = 20;
    private static final int LEGACY_ROUNDS = 4;

    private final long seed;

    BatchLines(long seed) {
        this.seed = seed;
    }

    void write(Consumer<ObjectNode> out) {
        for (int round = 0; round < ROUNDS; round++) {
            for (String scenario : COMPRESSIBLE) {
                for (String codec : CODECS) {
                    Random random = random(scenario + "/" + codec + "/" + round);
                    out.accept(line(scenario, codec, batch(random, scenario, codec), 0));
                }
            }
        }
        for (int round = 0; round < 4 * ROUNDS; round++) {
            for (String scenario : PLAIN) {
                out.accept(line(scenario, "none", batch(random(scenario + "/" + round), scenario, "none"), 0));
            }
        }
        for (int number = 0; number < MIXED; number++) {
            Random random = random("several/" + number);
            out.accept(line("several", "mixed", several(random, 2 + random.nextInt(3)), 0));
        }
        for (int number = 0; number < CUT; number++) {
            out.accept(cut(random("cut/" + number)));
        }
        for (int round = 0; round < LEGACY_ROUNDS; round++) {
            for (byte magic = 0; magic < RecordBatch.MAGIC_VALUE_V2; magic++) {
                for (String codec : CODECS.subList(0, 4)) {
                    byte[] bytes = new LegacySets(random("legacy" + magic + "/" + codec + round)).set(magic, codec);
                    out.accept(legacyLine(magic, codec, bytes));
                }
            }
        }
    }

    private Random random(String purpose) {
        return new Random(MessageLines.mix(seed, purpose));
    }

    private static byte[] batch(Random random, String scenario, String codec) {
        Batches batches = new Batches(random);
        return switch (scenario) {
            case "produced" -> batches.produced(codec);
            case "appended" -> batches.appended(codec);
            case "logAppendTime" -> batches.logAppendTime(codec);
            case "compacted" -> batches.compacted(codec);
            case "deleteHorizon" -> batches.deleteHorizon(codec);
            case "sequenceWrap" -> batches.sequenceWrap(codec);
            case "empty" -> batches.empty();
            case "endOfTransaction" -> new ControlBatches(random, batches.offset()).endOfTransaction();
            case "quorum" -> new ControlBatches(random, batches.offset()).ofTheQuorum();
            default -> throw new IllegalStateException(scenario);
        };
    }

    private static byte[] several(Random random, int count) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        for (int left = count; left > 0; left--) {
            int scenario = random.nextInt(COMPRESSIBLE.size() + PLAIN.size());
            boolean plain = scenario >= COMPRESSIBLE.size();
            String name = plain ? PLAIN.get(scenario - COMPRESSIBLE.size()) : COMPRESSIBLE.get(scenario);
            all.writeBytes(batch(random, name, plain ? "none" : CODECS.get(random.nextInt(CODECS.size()))));
        }
        return all.toByteArray();
    }

    /** Whole batches and a part of one more, as a broker sends when the limit of a fetch falls into a batch. */
    private static ObjectNode cut(Random random) {
        byte[] whole = several(random, random.nextInt(3));
        byte[] last = batch(random, "appended", "none");
        // Now and then so short that not even the length of the batch is there.
        int keep = random.nextInt(4) == 0 ? 1 + random.nextInt(11) : 1 + random.nextInt(last.length - 1);
        byte[] bytes = Arrays.copyOf(whole, whole.length + keep);
        System.arraycopy(last, 0, bytes, whole.length, keep);
        return line("cut", "mixed", bytes, last.length - keep);
    }

    private static ObjectNode line(String scenario, String codec, byte[] bytes, int truncatedBy) {
        ObjectNode line = NODES.objectNode().put("kind", "batch").put("name", "RecordBatch").put("version", 2)
            .put("scenario", scenario).put("codec", codec).put("hex", Hex.of(bytes)).put("truncatedBy", truncatedBy);
        ArrayNode batches = line.putArray("batches");
        for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
            batch.ensureValid();
            ObjectNode entry = batches.addObject()
                .put("baseOffset", batch.baseOffset()).put("lastOffset", batch.lastOffset())
                .put("sizeInBytes", batch.sizeInBytes()).put("partitionLeaderEpoch", batch.partitionLeaderEpoch())
                .put("crc", batch.checksum()).put("compression", batch.compressionType().name)
                .put("timestampType", batch.timestampType().name).put("transactional", batch.isTransactional())
                .put("control", batch.isControlBatch())
                .put("baseTimestamp", ((DefaultRecordBatch) batch).baseTimestamp())
                .put("maxTimestamp", batch.maxTimestamp()).put("producerId", batch.producerId())
                .put("producerEpoch", batch.producerEpoch()).put("baseSequence", batch.baseSequence())
                .put("lastSequence", batch.lastSequence()).put("count", batch.countOrNull());
            if (batch.deleteHorizonMs().isPresent()) {
                entry.put("deleteHorizonMs", batch.deleteHorizonMs().getAsLong());
            }
            records(batch, entry.putArray("records"));
        }
        return line;
    }

    private static ObjectNode legacyLine(byte magic, String codec, byte[] bytes) {
        ObjectNode line = NODES.objectNode().put("kind", "legacy").put("name", "MessageSet").put("magic", magic)
            .put("codec", codec).put("hex", Hex.of(bytes));
        ArrayNode batches = line.putArray("batches");
        for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(bytes)).batches()) {
            batch.ensureValid();
            Check.that(batch.magic() == magic, "another magic");
            ObjectNode entry = batches.addObject()
                .put("baseOffset", batch.baseOffset()).put("lastOffset", batch.lastOffset())
                .put("sizeInBytes", batch.sizeInBytes()).put("crc", batch.checksum())
                .put("compression", batch.compressionType().name).put("timestampType", batch.timestampType().name)
                .put("maxTimestamp", batch.maxTimestamp());
            records(batch, entry.putArray("records"));
        }
        return line;
    }

    private static void records(MutableRecordBatch batch, ArrayNode records) {
        for (Record record : batch) {
            record.ensureValid();
            ObjectNode entry = records.addObject().put("offset", record.offset()).put("sequence", record.sequence())
                .put("timestamp", record.timestamp())
                .put("key", Hex.of(record.key())).put("value", Hex.of(record.value()));
            ArrayNode headers = entry.putArray("headers");
            for (Header header : record.headers()) {
                headers.addArray().add(header.key()).add(header.value() == null ? null : Hex.of(header.value()));
            }
        }
    }
}
