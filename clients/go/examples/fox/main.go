// Command fox draws a picture, prints its previews as they come, and saves it.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	pictorv1 "pictor.dev/gen/pictor/v1"
	"pictor.dev/pictor"
)

func main() {
	if err := draw(context.Background(), "A red fox asleep in fresh snow", "out"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func draw(ctx context.Context, prompt, folder string) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	client, err := pictor.Dial("") // PICTOR_ADDRESS and PICTOR_API_KEY, else 127.0.0.1:50051
	if err != nil {
		return err
	}
	defer client.Close()

	request := &pictorv1.GenerateRequest{Prompt: prompt, Tier: pictorv1.Tier_TIER_PRO, MaxCost: pictor.Cents(50)}
	for event, err := range client.Stream(ctx, request) {
		if err != nil {
			return err
		}
		switch event := event.(type) {
		case pictor.AttemptStarted:
			usual := event.GetExpectedP50().AsDuration()
			fmt.Printf("%s: usually %s, up to %d previews\n", event.Model, usual, event.PreviewCount)
		case pictor.Preview:
			fmt.Printf("preview %d: %d bytes of %s\n", event.Index, len(event.Data), event.MimeType)
		case pictor.Image:
			path := filepath.Join(folder, "fox."+pictor.Extension(event.Picture.MimeType))
			if err := pictor.Save(path, event.Picture); err != nil {
				return err
			}
			fmt.Println("saved", path)
		case pictor.Completed:
			fmt.Printf("%s cost $%s\n", event.Generation.Id, pictor.USD(event.Generation.GetCost().GetAmount()))
		}
	}
	return nil
}
