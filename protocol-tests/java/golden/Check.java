package golden;

/** What must hold before a line is written. */
final class Check {
    private Check() {
    }

    static void that(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise);
        }
    }
}
