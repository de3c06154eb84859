/**
 * The Java client of Pictor: whole pictures, one kind of error, and no lost generation.
 *
 * <p>Requests and answers are the contract's own messages, {@code dev.pictor.v1}. The client adds what is hard to do by
 * hand: streams with whole previews that survive a lost connection, downloads that go on where they broke, and errors that
 * carry everything the gateway said. Begin at {@link dev.pictor.Pictor}.
 */
package dev.pictor;
