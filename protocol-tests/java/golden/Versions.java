package golden;

/** Versions in a row, as the schemas write them: {@code 3+}, {@code 0-12}, {@code 7}, {@code none}. */
record Versions(int first, int last) {
    private static final Versions NONE = new Versions(0, -1);

    static Versions parse(String text) {
        if (text == null || text.equals("none")) {
            return NONE;
        }
        if (text.endsWith("+")) {
            return new Versions(Integer.parseInt(text.substring(0, text.length() - 1)), Short.MAX_VALUE);
        }
        String[] ends = text.split("-");
        return new Versions(Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1]));
    }

    boolean contain(int version) {
        return first <= version && version <= last;
    }
}
