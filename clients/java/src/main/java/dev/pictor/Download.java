package dev.pictor;

import dev.pictor.v1.DownloadImageRequest;
import dev.pictor.v1.DownloadImageResponse;
import dev.pictor.v1.Image;
import dev.pictor.v1.ImageChunk;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.io.OutputStream;
import java.util.Iterator;

/** One picture on its way: what has arrived, and where to go on after a lost connection. */
final class Download {

    private final String imageId;
    private final OutputStream to;
    private final Sha256 sum = new Sha256();
    private Image image;
    private long size;

    Download(String imageId, OutputStream to) {
        this.imageId = imageId;
        this.to = to;
    }

    /** Asks for the rest whenever the connection is lost, until every byte is there. */
    Image run(Connection connection, Deadline deadline) {
        Patience patience = new Patience(connection, deadline);
        while (true) {
            PictorException lost = connect(connection, deadline, patience);
            if (isWhole()) {
                sum.check(image, size);
                return image;
            }
            if (!lost.isLost()) {
                throw lost;
            }
            patience.pause(lost);
        }
    }

    private boolean isWhole() {
        return image != null && size >= image.getSizeBytes();
    }

    /** Takes what one connection brings, and answers what it ended with. */
    private PictorException connect(Connection connection, Deadline deadline, Patience patience) {
        DownloadImageRequest request =
                DownloadImageRequest.newBuilder().setImageId(imageId).setOffsetBytes(size).build();
        Context.CancellableContext context = Context.current().withCancellation();
        Context outer = context.attach();
        try {
            Iterator<DownloadImageResponse> messages =
                    connection.stubs(deadline).history().downloadImage(request);
            while (!isWhole() && messages.hasNext()) {
                feed(messages.next());
                patience.progress();
            }
            return PictorException.lost("the download ended early");
        } catch (StatusRuntimeException failure) {
            return PictorException.of(failure);
        } finally {
            context.detach(outer);
            context.cancel(null);
        }
    }

    private void feed(DownloadImageResponse message) {
        if (message.hasImage()) {
            if (image != null && !image.getSha256().equals(message.getImage().getSha256())) {
                throw PictorException.damaged("picture " + imageId + " changed during the download");
            }
            image = message.getImage();
        } else if (message.hasChunk()) {
            take(message.getChunk());
        }
    }

    private void take(ImageChunk chunk) {
        if (chunk.getOffsetBytes() != size) {
            throw PictorException.damaged("picture " + imageId + ": expected byte " + size + ", got another");
        }
        try {
            chunk.getData().writeTo(to);
        } catch (IOException error) {
            throw PictorException.notSaved(error, imageId);
        }
        chunk.getData().asReadOnlyByteBufferList().forEach(sum::update);
        size += chunk.getData().size();
    }
}
