import dev.pictor.Event;
import dev.pictor.EventStream;
import dev.pictor.Pictor;
import dev.pictor.PictorException;
import dev.pictor.Pictures;
import dev.pictor.Usd;
import dev.pictor.v1.GenerateRequest;
import dev.pictor.v1.Tier;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Draws a picture, prints its previews as they come, and saves it. */
public final class Fox {

    public static void main(String[] arguments) throws IOException {
        Path out = Files.createDirectories(Path.of("out"));
        GenerateRequest request = GenerateRequest.newBuilder()
                .setPrompt("A red fox asleep in fresh snow")
                .setTier(Tier.TIER_PRO)
                .setMaxCost(Usd.of("0.50"))
                .build();
        try (Pictor client = Pictor.connect(); // PICTOR_ADDRESS and PICTOR_API_KEY, else 127.0.0.1:50051
                EventStream events = client.stream(request)) {
            for (Event event : events) {
                if (event instanceof Event.AttemptStarted started) {
                    System.out.printf(
                            "%s: usually %d s, up to %d previews%n",
                            started.attempt().getModel(),
                            started.attempt().getExpectedP50().getSeconds(),
                            started.attempt().getPreviewCount());
                } else if (event instanceof Event.Preview preview) {
                    System.out.printf(
                            "preview %d: %d bytes of %s%n",
                            preview.preview().getIndex(),
                            preview.data().size(),
                            preview.preview().getMimeType());
                } else if (event instanceof Event.Image image) {
                    String name = "fox." + Pictures.extension(image.picture().getMimeType());
                    System.out.println("saved " + Pictures.save(image.picture(), out.resolve(name)));
                } else if (event instanceof Event.Completed completed) {
                    System.out.printf(
                            "%s cost $%s%n",
                            completed.generation().getId(),
                            Usd.of(completed.generation().getCost().getAmount()).toPlainString());
                }
            }
        } catch (PictorException error) {
            System.err.println(error.getMessage());
            System.exit(1);
        }
    }
}
