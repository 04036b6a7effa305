package golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import golden.Schema.Field;
import java.util.List;

/** The values of a message as JSON: every field that a version has, by the name Kafka's {@code JsonConverter}s use. */
final class Trees {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private final Schema schema;
    private final int version;
    private final Values values;
    private final boolean large;

    /** {@code large}: strings and bytes may be long. */
    Trees(Schema schema, int version, Values values, boolean large) {
        this.schema = schema;
        this.version = version;
        this.values = values;
        this.large = large;
    }

    /** Everything null where that is allowed, else its default, else empty. */
    ObjectNode empty() {
        ObjectNode tree = NODES.objectNode();
        for (Field field : Schema.present(schema.fields, version)) {
            boolean mayBeNull = field.nullable().contain(version) && field.defaultValue() == null;
            tree.set(field.camelCase(), mayBeNull ? NODES.nullNode() : absent(field));
        }
        return tree;
    }

    ObjectNode random() {
        return random(schema.fields, 0);
    }

    private ObjectNode random(List<Field> fields, int depth) {
        ObjectNode tree = NODES.objectNode();
        for (Field field : Schema.present(fields, version)) {
            tree.set(field.camelCase(), random(field, depth));
        }
        return tree;
    }

    private JsonNode random(Field field, int depth) {
        if (field.nullable().contain(version) && values.once(5)) {
            return NODES.nullNode();
        }
        if (field.tagged().contain(version) && values.once(4)) {
            return absent(field);
        }
        if (!field.isArray()) {
            return element(field, depth);
        }
        ArrayNode array = NODES.arrayNode();
        // Fewer the deeper, or the messages grow beyond all measure.
        for (int left = values.below(depth < 2 ? 4 : 3); left > 0; left--) {
            array.add(element(field, depth + 1));
        }
        return array;
    }

    private JsonNode element(Field field, int depth) {
        return field.isStructure() ? random(schema.structure(field.element()), depth)
            : values.primitive(field.element(), large);
    }

    /** A structure with every field at its default. */
    ObjectNode defaults(List<Field> fields) {
        ObjectNode tree = NODES.objectNode();
        for (Field field : Schema.present(fields, version)) {
            tree.set(field.camelCase(), absent(field));
        }
        return tree;
    }

    /** What a field holds when nobody sets it. */
    JsonNode absent(Field field) {
        String text = field.defaultValue();
        if ("null".equals(text) && field.nullable().contain(version)) {
            return NODES.nullNode();
        }
        if (field.isArray()) {
            return NODES.arrayNode();
        }
        if (field.isStructure()) {
            return defaults(schema.structure(field.element()));
        }
        return text == null || text.isEmpty() || text.equals("null") ? Values.absent(field.element())
            : Values.written(field.element(), text);
    }
}
