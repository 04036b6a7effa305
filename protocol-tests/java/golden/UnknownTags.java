package golden;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import golden.Schema.Field;
import java.util.Collection;
import java.util.List;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.types.RawTaggedField;

/** Adds tagged fields that no schema knows, to a message and to the structures in it, and lists what was added. */
final class UnknownTags {
    private final Schema schema;
    private final int version;
    private final Values values;

    UnknownTags(Schema schema, int version, Values values) {
        this.schema = schema;
        this.version = version;
        this.values = values;
    }

    /** Sets {@code unknownTags} of the line, and {@code nestedUnknownTags} with the path to each structure. */
    void add(Message message, ObjectNode line) throws ReflectiveOperationException {
        ArrayNode top = line.arrayNode();
        add(message, top, null);
        ArrayNode nested = line.arrayNode();
        below(schema.fields, message, "", nested);
        line.set("unknownTags", top);
        if (!nested.isEmpty()) {
            line.set("nestedUnknownTags", nested);
        }
    }

    private void below(List<Field> fields, Message message, String path, ArrayNode added)
        throws ReflectiveOperationException {
        for (Field field : Schema.present(fields, version)) {
            Object value = field.isStructure() ? message.getClass().getMethod(field.camelCase()).invoke(message) : null;
            String here = path + field.camelCase();
            if (value instanceof Collection<?> elements) {
                int index = 0;
                for (Object element : elements) {
                    visit(field, (Message) element, here + "." + index++, added);
                }
            } else if (value != null) {
                visit(field, (Message) value, here, added);
            }
        }
    }

    private void visit(Field field, Message inside, String path, ArrayNode added) throws ReflectiveOperationException {
        if (values.once(2)) {
            add(inside, added, path);
        }
        below(schema.structure(field.element()), inside, path + ".", added);
    }

    private void add(Message message, ArrayNode added, String path) {
        long tag = 100;
        for (int left = 1 + values.below(3); left > 0; left--) {
            byte[] data = values.bytes(true);
            message.unknownTaggedFields().add(new RawTaggedField((int) tag, data));
            ObjectNode entry = added.addObject();
            if (path != null) {
                entry.put("path", path);
            }
            entry.put("tag", tag).put("hex", Hex.of(data));
            tag += values.once(3) ? 1_000_000L + values.below(1 << 30) : 1 + values.below(200);
            tag = Math.min(tag, Integer.MAX_VALUE - left);
        }
    }
}
