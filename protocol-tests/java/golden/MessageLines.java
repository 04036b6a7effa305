package golden;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Arrays;
import java.util.Random;
import java.util.function.Consumer;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.Message;

/** The lines about one message: every version, several variants each. */
final class MessageLines {
    private static final int VARIANTS = 4;

    private final Schema schema;
    private final Codec codec;
    /** {@code null} for headers and data. */
    private final ApiMessageType api;
    private final long seed;

    MessageLines(Schema schema, ApiMessageType api, long seed) throws ReflectiveOperationException {
        this.schema = schema;
        this.codec = new Codec(schema);
        this.api = api;
        this.seed = seed;
    }

    void write(Consumer<ObjectNode> out) throws ReflectiveOperationException {
        for (int version = schema.valid.first(); version <= schema.valid.last(); version++) {
            for (int variant = 0; variant < VARIANTS; variant++) {
                out.accept(line(version, variant));
            }
        }
    }

    /** What a line about any version of the message begins with. */
    ObjectNode head(String kind, int version) {
        ObjectNode line = JsonNodeFactory.instance.objectNode().put("kind", kind).put("name", schema.name);
        boolean flexible = schema.flexible.contain(version);
        if (api != null) {
            boolean isRequest = schema.kind.equals("request");
            short header = isRequest ? api.requestHeaderVersion((short) version)
                : api.responseHeaderVersion((short) version);
            line.put("apiKey", api.apiKey()).put("headerVersion", header);
        }
        line.put("version", version).put("flexible", flexible);
        if (api != null && api.latestVersionUnstable() && version == schema.valid.last()) {
            line.put("unstable", true);
        }
        return line;
    }

    private ObjectNode line(int version, int variant) throws ReflectiveOperationException {
        // Of its own for every line, so that a line does not depend on those before it.
        Values values = new Values(new Random(mix(seed, schema.name + "/" + version + "/" + variant)));
        Trees trees = new Trees(schema, version, values, variant == 3);
        ObjectNode tree = variant == 0 ? trees.empty() : trees.random();
        Message message = codec.fromJson(tree, version);
        ObjectNode line = head(schema.kind, version).put("variant", variant);
        if (variant >= 2 && schema.flexible.contain(version)) {
            new UnknownTags(schema, version, values).add(message, line);
        }
        byte[] bytes = Codec.toBytes(message, version);
        Message again = codec.fromBytes(bytes, version);
        Check.that(message.equals(again) && again.equals(message),
            line + " is read as " + again + " from " + message);
        Check.that(Arrays.equals(bytes, Codec.toBytes(again, version)), line + " is written otherwise again");
        Check.that(codec.toJson(again, version, tree).equals(codec.toJson(message, version, tree)),
            line + " is printed otherwise again");
        line.put("hex", Hex.of(bytes));
        line.set("json", codec.toJson(again, version, tree));
        return line;
    }

    /** A seed for one purpose among many. */
    static long mix(long seed, String purpose) {
        return seed * 0x9E3779B97F4A7C15L + purpose.hashCode() * 0x2545F4914F6CDD1DL;
    }
}
