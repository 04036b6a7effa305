package golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import golden.Schema.Field;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import org.apache.kafka.common.protocol.Message;

/**
 * The lines about values that a version may not be able to carry: one field is set, at the last version that has it, and
 * the message is written at another version. Kafka's class refuses, or leaves the field out.
 */
final class RefusalLines {
    private final Schema schema;
    private final MessageLines lines;
    private final Codec codec;

    RefusalLines(Schema schema, MessageLines lines) throws ReflectiveOperationException {
        this.schema = schema;
        this.lines = lines;
        this.codec = new Codec(schema);
    }

    /** Writes a line for every field, however deep, and every version that lacks it or does not let it be null. */
    void write(Consumer<ObjectNode> out) throws ReflectiveOperationException {
        walk(schema.fields, new ArrayList<>(), schema.valid, out);
    }

    private void walk(List<Field> fields, List<Field> path, Versions outer, Consumer<ObjectNode> out)
        throws ReflectiveOperationException {
        for (Field field : fields) {
            Versions both = and(outer, field.versions());
            if (both.first() > both.last()) {
                continue;
            }
            path.add(field);
            for (int version = schema.valid.first(); version <= schema.valid.last(); version++) {
                if (!both.contain(version)) {
                    out.accept(line(path, both.last(), version, false));
                }
            }
            Versions nullable = and(both, field.nullable());
            for (int version = both.first(); nullable.first() <= nullable.last() && version <= both.last(); version++) {
                if (!nullable.contain(version)) {
                    out.accept(line(path, nullable.last(), version, true));
                }
            }
            if (field.isStructure()) {
                walk(schema.structure(field.element()), path, both, out);
            }
            path.remove(path.size() - 1);
        }
    }

    private ObjectNode line(List<Field> path, int from, int version, boolean isNull)
        throws ReflectiveOperationException {
        Trees trees = new Trees(schema, from, new Values(new Random(1)), false);
        ObjectNode tree = trees.defaults(schema.fields);
        set(tree, path, from, trees, isNull);
        Message message = codec.fromJson(tree, from);
        byte[] bytes = Codec.toBytes(message, from);
        Message again = codec.fromBytes(bytes, from);
        Check.that(message.equals(again), "not read back: " + message);
        Check.that(Arrays.equals(bytes, Codec.toBytes(again, from)), "written otherwise again: " + message);
        ObjectNode line = lines.head("refusal", from).put("direction", schema.kind).put("toVersion", version)
            .put("field", String.join(".", path.stream().map(Field::camelCase).toList()))
            .put("set", isNull ? "null" : "value").put("hex", Hex.of(bytes));
        Outcome.set(line, again, version);
        String outcome = line.get("outcome").asText();
        Check.that(isNull || !outcome.equals("null"), "a null that nobody has set: " + line);
        return outcome.equals("null") ? line.put("refused", path.get(path.size() - 1).camelCase()) : line;
    }

    /** Sets the last field of the path to something else than its default; every array on the way gets one structure. */
    private void set(ObjectNode tree, List<Field> path, int from, Trees trees, boolean isNull) {
        Field field = path.get(0);
        JsonNode value;
        if (path.size() > 1) {
            ObjectNode inside = trees.defaults(schema.structure(field.element()));
            set(inside, path.subList(1, path.size()), from, trees, isNull);
            value = inside;
        } else if (isNull) {
            tree.set(field.camelCase(), JsonNodeFactory.instance.nullNode());
            return;
        } else {
            value = field.isStructure() ? something(schema.structure(field.element()), from, trees)
                : something(field, trees);
        }
        tree.set(field.camelCase(), field.isArray() ? JsonNodeFactory.instance.arrayNode().add(value) : value);
    }

    /** A structure that differs from the default one in its first field that can. */
    private ObjectNode something(List<Field> fields, int from, Trees trees) {
        ObjectNode tree = trees.defaults(fields);
        for (Field field : Schema.present(fields, from)) {
            if (!field.isStructure()) {
                JsonNode value = something(field, trees);
                tree.set(field.camelCase(), field.isArray() ? JsonNodeFactory.instance.arrayNode().add(value) : value);
                break;
            }
        }
        return tree;
    }

    private static JsonNode something(Field field, Trees trees) {
        Values values = new Values(new Random(field.name().hashCode()));
        for (int attempt = 0; attempt < 100; attempt++) {
            JsonNode value = values.primitive(field.element(), false);
            if (field.isArray() || !value.asText().equals(trees.absent(field).asText())) {
                return value;
            }
        }
        throw new IllegalStateException("nothing but the default for " + field.name());
    }

    private static Versions and(Versions one, Versions other) {
        return new Versions(Math.max(one.first(), other.first()), Math.min(one.last(), other.last()));
    }
}
