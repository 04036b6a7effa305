package golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.apache.kafka.common.Uuid;

/** Random values of the primitive types, the edges of each more often than chance would have them. */
final class Values {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;
    private static final String[] ALPHABETS = {"abcdefghij0123456789-_.", "äöüßéñ", "語文字列", "😀🚀",
        "\u0000\n\"\\/ "};

    private final Random random;

    Values(Random random) {
        this.random = random;
    }

    int below(int bound) {
        return random.nextInt(bound);
    }

    /** True once in {@code times}. */
    boolean once(int times) {
        return random.nextInt(times) == 0;
    }

    long number(long min, long max) {
        return switch (random.nextInt(8)) {
            case 0 -> min;
            case 1 -> max;
            case 2 -> 0;
            case 3 -> Math.max(min, -1);
            case 4, 5 -> Math.min(max, random.nextInt(100));
            default -> (random.nextLong() >> random.nextInt(64)) & max | (min < 0 && random.nextBoolean() ? min : 0);
        };
    }

    private Uuid uuid() {
        return new Uuid(number(Long.MIN_VALUE, Long.MAX_VALUE), random.nextLong());
    }

    double real() {
        return switch (random.nextInt(6)) {
            case 0 -> 0.0;
            case 1 -> -0.0;
            case 2 -> Double.MAX_VALUE;
            case 3 -> Double.MIN_VALUE;
            default -> random.nextGaussian() * 1e6;
        };
    }

    /** Text of up to 24 letters; with {@code large} now and then of hundreds, or even of more than 2^14 bytes. */
    String text(boolean large) {
        String alphabet = ALPHABETS[random.nextInt(4) == 0 ? random.nextInt(ALPHABETS.length) : 0];
        int letters = random.nextInt(24);
        if (large && random.nextInt(4) == 0) {
            // About where the length takes another byte.
            letters = 120 + random.nextInt(20);
        }
        if (large && random.nextInt(40) == 0) {
            return "0123456789abcdef".repeat(1024) + alphabet;
        }
        int[] points = alphabet.codePoints().toArray();
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < letters; i++) {
            text.appendCodePoint(points[random.nextInt(points.length)]);
        }
        return text.toString();
    }

    byte[] bytes(boolean large) {
        byte[] bytes = new byte[large && random.nextInt(4) == 0 ? 120 + random.nextInt(20) : random.nextInt(24)];
        random.nextBytes(bytes);
        return bytes;
    }

    /** A value that JSON can carry of the primitive type that schemas call {@code type}. */
    JsonNode primitive(String type, boolean large) {
        return switch (type) {
            case "bool" -> NODES.booleanNode(random.nextBoolean());
            case "int8" -> NODES.numberNode((short) number(Byte.MIN_VALUE, Byte.MAX_VALUE));
            case "int16" -> NODES.numberNode((short) number(Short.MIN_VALUE, Short.MAX_VALUE));
            case "uint16" -> NODES.numberNode((int) number(0, 0xffff));
            case "int32" -> NODES.numberNode((int) number(Integer.MIN_VALUE, Integer.MAX_VALUE));
            case "uint32" -> NODES.numberNode(number(0, 0xffff_ffffL));
            case "int64" -> NODES.numberNode(number(Long.MIN_VALUE, Long.MAX_VALUE));
            case "float64" -> NODES.numberNode(real());
            case "uuid" -> NODES.textNode(uuid().toString());
            case "string" -> NODES.textNode(text(large));
            case "bytes" -> NODES.binaryNode(bytes(large));
            case "records" -> NODES.binaryNode(records());
            default -> throw new IllegalStateException("no primitive type: " + type);
        };
    }

    /** What an absent value of the primitive type is. */
    static JsonNode absent(String type) {
        return switch (type) {
            case "bool" -> NODES.booleanNode(false);
            case "int8", "int16", "uint16", "int32" -> NODES.numberNode(0);
            case "uint32", "int64" -> NODES.numberNode(0L);
            case "float64" -> NODES.numberNode(0.0);
            case "uuid" -> NODES.textNode(Uuid.ZERO_UUID.toString());
            case "string" -> NODES.textNode("");
            case "bytes", "records" -> NODES.binaryNode(new byte[0]);
            default -> throw new IllegalStateException("no primitive type: " + type);
        };
    }

    /** The default a schema writes out. */
    static JsonNode written(String type, String text) {
        return switch (type) {
            case "bool" -> NODES.booleanNode(Boolean.parseBoolean(text));
            case "float64" -> NODES.numberNode(Double.parseDouble(text));
            case "uuid", "string" -> NODES.textNode(text);
            default -> NODES.numberNode(Long.decode(text));
        };
    }

    private byte[] records() {
        return random.nextInt(4) == 0 ? "no records at all".getBytes(StandardCharsets.UTF_8)
            : new Batches(random).produced("none");
    }
}
