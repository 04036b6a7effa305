package golden;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.apache.kafka.common.message.ApiMessageType;

/**
 * Writes golden vectors, a JSON object a line, to standard output: bytes that Kafka's own classes wrote from values drawn
 * from a seed, and what those classes read from them. The same seed gives the same lines. {@code fixtures/README.md}
 * describes them.
 *
 * <p>Argument: the seed.
 */
public final class GoldenVectors {
    private static final List<String> HEADERS_AND_DATA = List.of("RequestHeader", "ResponseHeader",
        "ConsumerProtocolAssignment", "ConsumerProtocolSubscription", "ControlRecordTypeSchema", "DefaultPrincipalData",
        "EndTxnMarker", "KRaftVersionRecord", "LeaderChangeMessage", "SnapshotFooterRecord", "SnapshotHeaderRecord",
        "VotersRecord");

    private GoldenVectors() {
    }

    public static void main(String[] arguments) throws Exception {
        long seed = Long.parseLong(arguments[0]);
        // Kafka's classes may print to standard output; the lines get it for themselves.
        PrintStream stdout = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false,
            StandardCharsets.UTF_8);
        System.setOut(System.err);
        int[] count = {0};
        Consumer<ObjectNode> out = line -> {
            stdout.print(line + "\n");
            count[0]++;
        };
        List<MessageLines> messages = new ArrayList<>();
        List<RefusalLines> refusals = new ArrayList<>();
        List<CrossingLines> crossings = new ArrayList<>();
        for (ApiMessageType api : ApiMessageType.values()) {
            for (String direction : List.of("Request", "Response")) {
                add(Schema.load(api.name + direction), api, seed, messages, refusals, crossings);
            }
        }
        for (String name : HEADERS_AND_DATA) {
            add(Schema.load(name), null, seed, messages, refusals, crossings);
        }
        for (MessageLines message : messages) {
            message.write(out);
        }
        progress(count, "messages");
        new BatchLines(seed).write(out);
        progress(count, "record batches");
        for (RefusalLines refusal : refusals) {
            refusal.write(out);
        }
        for (CrossingLines crossing : crossings) {
            crossing.write(out);
        }
        progress(count, "refusals");
        stdout.flush();
        Check.that(!stdout.checkError(), "standard output cannot be written");
    }

    private static void add(Schema schema, ApiMessageType api, long seed, List<MessageLines> messages,
                            List<RefusalLines> refusals, List<CrossingLines> crossings)
        throws ReflectiveOperationException {
        // Of an API that was removed the jar keeps the number but no valid version.
        if (schema == null || schema.valid.first() > schema.valid.last()) {
            return;
        }
        MessageLines lines = new MessageLines(schema, api, seed);
        messages.add(lines);
        refusals.add(new RefusalLines(schema, lines));
        crossings.add(new CrossingLines(schema, lines, seed));
    }

    private static void progress(int[] count, String what) {
        System.err.println(count[0] + " lines with the " + what);
    }
}
