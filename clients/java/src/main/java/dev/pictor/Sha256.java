package dev.pictor;

import dev.pictor.v1.Image;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** The checksum of a picture that arrives in pieces. */
final class Sha256 {

    private final MessageDigest digest;

    Sha256() {
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    void update(ByteBuffer part) {
        digest.update(part);
    }

    /**
     * Compares, once, the bytes with the ones that the picture's description names.
     *
     * @throws PictorException DATA_LOSS
     */
    void check(Image image, long size) {
        if (!HexFormat.of().formatHex(digest.digest()).equals(image.getSha256())) {
            throw PictorException.damaged("picture " + image.getId() + " arrived damaged: " + size + " of "
                    + image.getSizeBytes() + " bytes, wrong SHA-256");
        }
    }
}
