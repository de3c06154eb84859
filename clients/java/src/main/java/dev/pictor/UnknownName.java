package dev.pictor;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.logging.Filter;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/**
 * Keeps gRPC from warning, with a stack trace, of a gateway whose name nobody knows: the error of the call says it. Of the
 * channels of others, and of all else, gRPC's warnings are still heard.
 */
final class UnknownName implements Filter {

    private static final String WARNING = "Failed to resolve name";
    private static final Set<String> TOLD = ConcurrentHashMap.newKeySet();

    /** Held here, or it would be collected and its filter with it. */
    private static final Logger CHANNELS = Logger.getLogger("io.grpc.internal.ManagedChannelImpl");

    static {
        CHANNELS.setFilter(new UnknownName(CHANNELS.getFilter()));
    }

    private final Filter before;

    private UnknownName(Filter before) {
        this.before = before;
    }

    /** The client itself tells of this address. */
    static void isToldOf(String address) {
        TOLD.add(address);
    }

    @Override
    public boolean isLoggable(LogRecord record) {
        return !isTold(record) && (before == null || before.isLoggable(record));
    }

    private static boolean isTold(LogRecord record) {
        if (!record.getMessage().contains(WARNING) || record.getParameters() == null) {
            return false;
        }
        String channel = String.valueOf(record.getParameters()[0]); // Channel<1>: (host:port)
        return TOLD.stream().anyMatch(address -> channel.endsWith("(" + address + ")"));
    }
}
