// The generators of the Go stubs, pinned: tools/gen builds them. A module of their own, so that they bind no one who uses the client.
module pictor.dev/tools/go-stubs

go 1.24.0

tool (
	google.golang.org/grpc/cmd/protoc-gen-go-grpc
	google.golang.org/protobuf/cmd/protoc-gen-go
)

require (
	google.golang.org/grpc/cmd/protoc-gen-go-grpc v1.6.1 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
