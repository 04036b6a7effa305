package golden;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Random;
import java.util.function.Consumer;
import org.apache.kafka.common.protocol.Message;

/**
 * The lines about random messages that are written in another version than the one that their values are made for:
 * which of many fields is refused first, and what is left when none is.
 */
final class CrossingLines {
    private static final int TARGETS = 2;

    private final Schema schema;
    private final MessageLines lines;
    private final Codec codec;
    private final long seed;

    CrossingLines(Schema schema, MessageLines lines, long seed) throws ReflectiveOperationException {
        this.schema = schema;
        this.lines = lines;
        this.codec = new Codec(schema);
        this.seed = seed;
    }

    void write(Consumer<ObjectNode> out) throws ReflectiveOperationException {
        int versions = schema.valid.last() - schema.valid.first() + 1;
        for (int from = schema.valid.first(); from <= schema.valid.last() && versions > 1; from++) {
            Values values = new Values(new Random(MessageLines.mix(seed, "crossing/" + schema.name + "/" + from)));
            Message message = codec.fromJson(new Trees(schema, from, values, false).random(), from);
            if (schema.flexible.contain(from) && values.once(3)) {
                new UnknownTags(schema, from, values).add(message, lines.head("refusal", from));
            }
            byte[] bytes = Codec.toBytes(message, from);
            Message again = codec.fromBytes(bytes, from);
            Check.that(message.equals(again), "not read back: " + message);
            for (int target = 0; target < TARGETS; target++) {
                // Any version but this one.
                int step = 1 + values.below(versions - 1);
                int version = schema.valid.first() + (from - schema.valid.first() + step) % versions;
                ObjectNode line = lines.head("refusal", from)
                    .put("direction", schema.kind).put("toVersion", version)
                    .put("set", "random").put("hex", Hex.of(bytes));
                Outcome.set(line, again, version);
                out.accept(line);
            }
        }
    }
}
