package dev.pictor;

import java.util.regex.Pattern;

/** Where the gateway is, and whether the way there is encrypted. */
record Target(String address, boolean encrypted) {

    private static final String DEFAULT = "127.0.0.1:50051";
    private static final Pattern ENDS_WITH_PORT = Pattern.compile(".*:\\d+");

    /** Reads the first address that is there; gRPC would take a port in silence where none is named. */
    static Target parse(String given, String fromEnvironment) {
        String text = !isEmpty(given) ? given : !isEmpty(fromEnvironment) ? fromEnvironment : DEFAULT;
        boolean encrypted = text.startsWith("https://");
        String address = encrypted || text.startsWith("http://")
                ? text.substring(text.indexOf("://") + 3).replaceAll("/+$", "")
                : text;
        if (ENDS_WITH_PORT.matcher(address).matches() || address.contains("/")) {
            return new Target(address, encrypted);
        }
        if (encrypted) {
            return new Target(address + ":443", true);
        }
        throw new IllegalArgumentException("an address is host:port; `" + address + "` has no port");
    }

    private static boolean isEmpty(String text) {
        return text == null || text.isEmpty();
    }
}
