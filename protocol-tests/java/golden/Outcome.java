package golden;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.protocol.Message;

/** What Kafka's class does with a message that is written in a version it may not fit. */
final class Outcome {
    private static final Pattern FIELD =
        Pattern.compile("Attempted to write a non-default (\\w+) at version (-?\\d+)");
    private static final Pattern TAGS =
        Pattern.compile("Tagged fields were set, but version (-?\\d+) of this message");

    private Outcome() {
    }

    /**
     * Sets {@code outcome}: {@code written} with the bytes, {@code refused} with the name of the field, {@code tags} when
     * there are unknown tagged fields and no room for them, or {@code null} when Java fails over a null, which it does
     * without naming the field. Java looks for the last two first, while it adds up the size.
     */
    static void set(ObjectNode line, Message message, int version) {
        try {
            line.put("outcome", "written").put("written", Hex.of(Codec.toBytes(message, version)));
        } catch (UnsupportedVersionException e) {
            Matcher field = FIELD.matcher(e.getMessage());
            Matcher tags = TAGS.matcher(e.getMessage());
            if (field.find() && Integer.parseInt(field.group(2)) == version) {
                line.put("outcome", "refused").put("refused", field.group(1));
            } else {
                Check.that(tags.find() && Integer.parseInt(tags.group(1)) == version,
                    "unknown refusal: " + e.getMessage());
                line.put("outcome", "tags");
            }
        } catch (NullPointerException e) {
            line.put("outcome", "null");
        }
    }
}
