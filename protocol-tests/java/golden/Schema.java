package golden;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** One of Kafka's message schemas, as the {@code kafka-clients} jar holds it. */
final class Schema {
    private static final ObjectMapper JSON = new ObjectMapper().enable(JsonParser.Feature.ALLOW_COMMENTS);

    final String name;
    /** {@code request}, {@code response}, {@code header} or {@code data}. */
    final String kind;
    final Versions valid;
    final Versions flexible;
    final List<Field> fields;
    private final Map<String, List<Field>> structures = new LinkedHashMap<>();

    /** A field of a message or of a structure in it. {@code element} is the type without the brackets of an array. */
    record Field(String name, String element, boolean isArray, Versions versions, Versions nullable, Versions tagged,
                 String defaultValue) {
        /** The name in Java and in JSON. */
        String camelCase() {
            return name.substring(0, 1).toLowerCase(Locale.ROOT) + name.substring(1);
        }

        boolean isStructure() {
            return Character.isUpperCase(element.charAt(0));
        }
    }

    /** Reads the schema of this name, {@code null} when the jar has none. */
    static Schema load(String name) throws IOException {
        try (InputStream in = Schema.class.getResourceAsStream("/common/message/" + name + ".json")) {
            return in == null ? null : new Schema(JSON.readTree(in));
        }
    }

    private Schema(JsonNode root) {
        name = root.get("name").asText();
        kind = root.get("type").asText();
        valid = Versions.parse(root.get("validVersions").asText());
        flexible = Versions.parse(text(root, "flexibleVersions"));
        for (JsonNode common : root.path("commonStructs")) {
            structures.put(common.get("name").asText(), fields(common.path("fields")));
        }
        fields = fields(root.path("fields"));
    }

    /** The fields of a structure that this schema defines. */
    List<Field> structure(String type) {
        List<Field> found = structures.get(type);
        if (found == null) {
            throw new IllegalStateException(name + " has no structure " + type);
        }
        return found;
    }

    /** The fields among {@code all} that a version has. */
    static List<Field> present(List<Field> all, int version) {
        return all.stream().filter(field -> field.versions.contain(version)).toList();
    }

    private List<Field> fields(JsonNode nodes) {
        List<Field> found = new ArrayList<>();
        for (JsonNode node : nodes) {
            String type = node.get("type").asText();
            boolean isArray = type.startsWith("[]");
            String element = isArray ? type.substring(2) : type;
            if (node.has("fields")) {
                structures.put(element, fields(node.get("fields")));
            }
            found.add(new Field(node.get("name").asText(), element, isArray,
                Versions.parse(node.get("versions").asText()), Versions.parse(text(node, "nullableVersions")),
                Versions.parse(text(node, "taggedVersions")), text(node, "default")));
        }
        return found;
    }

    private static String text(JsonNode node, String name) {
        return node.has(name) ? node.get(name).asText() : null;
    }
}
