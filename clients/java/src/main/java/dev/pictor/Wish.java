package dev.pictor;

import io.grpc.Deadline;

/**
 * What somebody wants of one generation, whatever becomes of the connection.
 *
 * @param requestId names the call that asks for it; null for who only watches
 * @param maxInlineBytes bound of pictures' bytes on each stream; null means no bound
 * @param fetches whether to download pictures whose bytes do not come with a stream
 * @param withdrawn whether the gateway gives it up, as far as it is not sent, when the connection is lost
 * @param deadline for all of it; null means as long as it takes
 */
record Wish(String requestId, Long maxInlineBytes, boolean fetches, boolean withdrawn, Deadline deadline) {}
