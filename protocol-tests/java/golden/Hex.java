package golden;

import java.nio.ByteBuffer;
import java.util.HexFormat;

/** Bytes as digits. */
final class Hex {
    private Hex() {
    }

    static String of(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }

    /** {@code null} for {@code null}. */
    static String of(ByteBuffer buffer) {
        if (buffer == null) {
            return null;
        }
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return of(bytes);
    }
}
