package pictor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pictorv1 "pictor.dev/gen/pictor/v1"
)

const (
	// MaxUploadBytes is the longest picture that the contract takes.
	MaxUploadBytes   = 20 << 20
	uploadChunkBytes = 512 << 10 // below the contract's 1 MiB a message
)

// Download writes a picture's bytes to w, goes on where a lost connection left it, and checks its SHA-256 at the end: after
// an error, what w has is not the picture. It answers the picture's description, without its Data.
func (c *Client) Download(ctx context.Context, imageID string, w io.Writer) (*pictorv1.Image, error) {
	d := &download{imageID: imageID, to: w, sum: sha256.New()}
	p := patience{delays: c.delays, onLost: c.onLost}
	for {
		lost := d.run(ctx, c.History, &p)
		if d.whole() {
			return d.image, check(d.image, d.size, d.sum.Sum(nil))
		}
		err := asError(lost)
		if errors.Is(lost, io.EOF) {
			err = &Error{Code: codes.Unavailable, Reason: Unreachable, Message: "the download ended early"}
		}
		if !err.isLost() {
			return nil, err
		}
		if err := p.wait(ctx, err); err != nil {
			return nil, err
		}
	}
}

// Fetch is [Client.Download] into memory: the picture with its Data.
func (c *Client) Fetch(ctx context.Context, imageID string) (*pictorv1.Image, error) {
	var data bytes.Buffer
	image, err := c.Download(ctx, imageID, &data)
	if err != nil {
		return nil, err
	}
	image = proto.CloneOf(image)
	image.Data = data.Bytes()
	return image, nil
}

// DownloadFile is [Client.Download] into a file, which is there whole or not at all.
func (c *Client) DownloadFile(ctx context.Context, imageID, path string) (image *pictorv1.Image, err error) {
	err = replace(path, func(file io.Writer) error {
		image, err = c.Download(ctx, imageID, file)
		return err
	})
	if err != nil {
		return nil, unlessOurs(err, imageID)
	}
	return image, nil
}

// Save writes a picture's Data to a file, which is there whole or not at all.
func Save(path string, image *pictorv1.Image) error {
	if len(image.GetData()) == 0 {
		return fmt.Errorf("picture %s was not fetched; use Client.Fetch or Client.DownloadFile", image.GetId())
	}
	err := replace(path, func(file io.Writer) error {
		_, err := file.Write(image.Data)
		return err
	})
	return unlessOurs(err, image.GetId())
}

// Extension is what a file of the media type ends with, without a dot.
func Extension(mimeType string) string {
	switch mimeType {
	case "image/png":
		return "png"
	case "image/jpeg":
		return "jpg"
	case "image/webp":
		return "webp"
	}
	return "bin"
}

// Upload brings a picture and answers its description; its Id is an image_id. One over 20 MiB is not sent at all.
func (c *Client) Upload(ctx context.Context, picture io.Reader) (*pictorv1.Image, error) {
	data, err := io.ReadAll(io.LimitReader(picture, MaxUploadBytes+1))
	if err != nil {
		return nil, fmt.Errorf("the picture cannot be read: %w", err)
	}
	if len(data) > MaxUploadBytes {
		return nil, tooLarge()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.History.UploadImage(ctx)
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(data); at += uploadChunkBytes {
		part := data[at:min(at+uploadChunkBytes, len(data))]
		if stream.Send(&pictorv1.UploadImageRequest{Data: part}) != nil {
			break // the gateway has answered already; CloseAndRecv says what
		}
	}
	answer, err := stream.CloseAndRecv()
	return answer.GetImage(), err
}

// tooLarge is in the gateway's own words. A gateway that refuses in the middle of the stream may be heard only as a broken
// connection: HTTP/2 resets the rest.
func tooLarge() *Error {
	text := fmt.Sprintf("the picture has more than %d bytes", MaxUploadBytes)
	return &Error{
		Code: codes.InvalidArgument, Reason: "IMAGE_TOO_LARGE", Message: "data: " + text,
		Metadata: map[string]string{"field": "data"}, Violations: []Violation{{"data", text}},
	}
}

// download is one picture on its way: what has arrived, and where to go on after a lost connection.
type download struct {
	imageID string
	image   *pictorv1.Image
	to      io.Writer
	sum     hash.Hash
	size    int64
}

// whole tells whether every byte is there; nobody asks for the rest of a whole picture.
func (d *download) whole() bool { return d.image != nil && d.size >= d.image.GetSizeBytes() }

// run takes what one connection brings, and answers what it ended with.
func (d *download) run(ctx context.Context, history pictorv1.HistoryServiceClient, p *patience) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := history.DownloadImage(ctx, &pictorv1.DownloadImageRequest{ImageId: d.imageID, OffsetBytes: d.size})
	if err != nil {
		return err
	}
	for !d.whole() {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		p.progress()
		if err := d.feed(message); err != nil {
			return err
		}
	}
	return nil
}

func (d *download) feed(message *pictorv1.DownloadImageResponse) error {
	if image := message.GetImage(); image != nil {
		if d.image != nil && d.image.GetSha256() != image.GetSha256() {
			return damaged("picture %s changed during the download", d.imageID)
		}
		d.image = image
	}
	chunk := message.GetChunk()
	if chunk == nil {
		return nil
	}
	if chunk.GetOffsetBytes() != d.size {
		return damaged("picture %s: expected byte %d, got another", d.imageID, d.size)
	}
	if _, err := d.to.Write(chunk.GetData()); err != nil {
		return notSaved(err, d.imageID)
	}
	d.sum.Write(chunk.GetData())
	d.size += int64(len(chunk.GetData()))
	return nil
}

// replace writes a file beside path and renames it, so that path never holds half of one.
func replace(path string, write func(io.Writer) error) (err error) {
	suffix := make([]byte, 6)
	rand.Read(suffix)
	part := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%x.part", filepath.Base(path), suffix))
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(part)
		}
	}()
	err = write(file)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	return err
}

func unlessOurs(err error, imageID string) error {
	var ours *Error
	if err == nil || errors.As(err, &ours) {
		return err
	}
	return notSaved(err, imageID)
}

// notSaved is a picture that the gateway has and that could not be written here.
func notSaved(err error, imageID string) *Error {
	return &Error{
		Code: codes.Aborted, Reason: NotSaved, Paid: true, cause: err,
		Message: fmt.Sprintf("%v; what was drawn is paid and kept by the gateway, download picture %s again", err, imageID),
	}
}
