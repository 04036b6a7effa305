package golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import golden.Schema.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.util.List;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/** Kafka's generated class of one schema: JSON to message, message to bytes, and back. */
final class Codec {
    private final Schema schema;
    private final Class<?> type;
    private final Method read;
    private final Method write;

    Codec(Schema schema) throws ReflectiveOperationException {
        this.schema = schema;
        String suffix = schema.kind.equals("data") ? "" : "Data";
        type = Class.forName("org.apache.kafka.common.message." + schema.name + suffix);
        Class<?> converter = Class.forName(type.getName() + "JsonConverter");
        read = converter.getMethod("read", JsonNode.class, short.class);
        write = converter.getMethod("write", type, short.class);
    }

    Message fromJson(JsonNode tree, int version) throws ReflectiveOperationException {
        return (Message) call(read, tree, (short) version);
    }

    /**
     * What Kafka's converter prints, with the values of {@code tree} for records, of which the converter prints nothing.
     */
    JsonNode toJson(Message message, int version, ObjectNode tree) throws ReflectiveOperationException {
        ObjectNode printed = (ObjectNode) call(write, message, (short) version);
        fillRecords(schema.fields, tree, printed);
        return printed;
    }

    /** The bytes of a message, which is what a buffer of {@code size} bytes must hold to the last. */
    static byte[] toBytes(Message message, int version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size = message.size(cache, (short) version);
        ByteBufferAccessor out = new ByteBufferAccessor(ByteBuffer.allocate(size));
        message.write(out, cache, (short) version);
        Check.that(out.buffer().remaining() == 0, "a message is shorter than its size");
        return out.buffer().array();
    }

    Message fromBytes(byte[] bytes, int version) throws ReflectiveOperationException {
        Message message = (Message) type.getConstructor().newInstance();
        ByteBufferAccessor in = new ByteBufferAccessor(ByteBuffer.wrap(bytes));
        message.read(in, (short) version);
        Check.that(in.remaining() == 0, "a message was not read to its end");
        return message;
    }

    private void fillRecords(List<Field> fields, JsonNode tree, JsonNode printed) {
        for (Field field : fields) {
            JsonNode from = tree.get(field.camelCase());
            JsonNode to = printed.get(field.camelCase());
            if (from == null || from.isNull() || to == null) {
                continue;
            }
            if (field.element().equals("records")) {
                ((ObjectNode) printed).set(field.camelCase(), from);
            } else if (field.isStructure() && field.isArray()) {
                Check.that(from.size() == to.size(), "an array is printed with another length");
                for (int i = 0; i < from.size(); i++) {
                    fillRecords(schema.structure(field.element()), from.get(i), ((ArrayNode) to).get(i));
                }
            } else if (field.isStructure()) {
                fillRecords(schema.structure(field.element()), from, to);
            }
        }
    }

    private static Object call(Method method, Object... arguments) throws ReflectiveOperationException {
        try {
            return method.invoke(null, arguments);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof RuntimeException cause) {
                throw cause;
            }
            throw e;
        }
    }
}
