"""The contract's files keep the promises that buf cannot check, read from the committed descriptor set."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from google.protobuf import descriptor_pb2

from pictor.v1 import catalog_service_pb2, catalog_service_pb2_grpc
from pictord.domain.reason import Reason

ROOT = Path(__file__).parents[2]
SERVICE_CONFIG = (ROOT / "protos/service_config.json").read_text()


class Element(NamedTuple):
    """A message field, enum value, service or RPC, with the comment that stands before it."""

    name: str
    kind: str
    comment: str


def walk_message(message, path, name):
    """The (source path, name, kind) of every field below a message that we wrote."""
    for i, field in enumerate(message.field):
        yield (*path, 2, i), f"{name}.{field.name}", "field"
    for i, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from walk_message(nested, (*path, 3, i), f"{name}.{nested.name}")


def walk_file(file):
    """The (source path, name, kind) of everything in a file that this page asks about (descriptor.proto's numbers)."""
    for i, message in enumerate(file.message_type):
        yield from walk_message(message, (4, i), message.name)
    for i, enum in enumerate(file.enum_type):
        for j, value in enumerate(enum.value):
            yield (5, i, 2, j), value.name, "value"
    for i, service in enumerate(file.service):
        yield (6, i), f"{file.package}.{service.name}", "service"
        for j, method in enumerate(service.method):
            yield (6, i, 2, j), f"{file.package}.{service.name}/{method.name}", "rpc"


def read_files():
    """Our own files in the committed descriptor set."""
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "protos/pictor.binpb").read_bytes()).file
    return [file for file in files if file.package.startswith("pictor.")]


def read_elements():
    """Every element of the contract with its comment."""
    elements = []
    for file in read_files():
        comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        elements += [Element(name, kind, comments.get(path, "").strip()) for path, name, kind in walk_file(file)]
    return elements


FILES = read_files()
ELEMENTS = read_elements()
CODES = {
    element.name.removeprefix("ERROR_REASON_"): element.comment.split(":")[0]
    for element in ELEMENTS
    if element.name.startswith("ERROR_REASON_") and element.name != "ERROR_REASON_UNSPECIFIED"
}


def of_kind(*kinds):
    """A test's cases: the elements of these kinds, by name."""
    return [pytest.param(element, id=element.name) for element in ELEMENTS if element.kind in kinds]


def test_the_descriptor_set_holds_all_protos():
    """protos/pictor.binpb, which load-test tools read, knows every file of the contract, with its comments."""
    committed = {str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto")}

    assert {file.name for file in FILES} == committed
    assert all(element.comment for element in ELEMENTS)


def test_the_contract_needs_nothing_but_protobuf():
    """Consumers generate from our files alone: imports are our own or google/protobuf's."""
    foreign = {
        name for file in FILES for name in file.dependency if not name.startswith(("pictor/", "google/protobuf/"))
    }

    assert foreign == set()


@pytest.mark.parametrize("field", of_kind("field"))
def test_a_field_says_first_who_sets_it(field):
    """The comment of every field begins with Required, Optional or Output only."""
    assert re.match(r"(Required|Optional|Output only)\. \S", field.comment), field.comment


def test_the_contract_and_the_domain_know_the_same_reasons():
    """error_reason.proto lists every reason of the domain, in its order, and no other."""
    assert list(CODES) == [reason.name for reason in Reason]


@pytest.mark.parametrize("reason", CODES)
def test_a_reason_names_its_code(reason):
    """The comment of every reason begins with the gRPC code that it comes with."""
    assert CODES[reason] in grpc.StatusCode.__members__


@pytest.mark.parametrize("element", of_kind("service", "rpc"))
def test_documented_errors_are_real(element):
    """Where a comment says `CODE (REASON, …)`, each reason exists and comes with that code."""
    codes = "|".join(grpc.StatusCode.__members__)
    said = re.findall(rf"\b({codes}) \(([^)]*)\)", " ".join(element.comment.split()))

    wrong = [
        (code, reason)
        for code, reasons in said
        for reason in re.findall(r"\b[A-Z_]{4,}\b", reasons)
        if CODES.get(reason) != code
    ]

    assert wrong == []


# ------------------------------------------------------------------------------------------------------- service config


def method_configs():
    """RPC → its method config: an entry that names the method wins over one that names its service."""
    found = {}
    for config in json.loads(SERVICE_CONFIG)["methodConfig"]:
        for name in config["name"]:
            found["/".join(filter(None, [name["service"], name.get("method")]))] = config
    return found


@pytest.mark.parametrize("rpc", of_kind("rpc"))
def test_clients_retry_unavailable_alone(rpc):
    """Every RPC has a timeout, and three attempts for UNAVAILABLE, where nothing was spent, and for nothing else."""
    configs = method_configs()
    config = configs.get(rpc.name) or configs[rpc.name.split("/")[0]]

    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert config["retryPolicy"]["maxAttempts"] == 3
    assert re.fullmatch(r"[1-9]\d*s", config["timeout"])


def test_the_service_config_names_what_exists():
    """No entry is left over from an RPC that was renamed."""
    known = {element.name for element in ELEMENTS if element.kind in {"service", "rpc"}}

    assert set(method_configs()) <= known


def test_the_python_client_carries_the_same_service_config():
    """The copy inside the client is the committed file."""
    assert (ROOT / "clients/python/pictor/service_config.json").read_text() == SERVICE_CONFIG


@pytest.mark.parametrize(
    ("code", "pushback", "attempts"),
    [
        pytest.param(grpc.StatusCode.UNAVAILABLE, "1", 3, id="unavailable is tried three times"),
        pytest.param(grpc.StatusCode.UNAVAILABLE, "-1", 1, id="unavailable, but money may be spent"),
        pytest.param(grpc.StatusCode.ABORTED, "1", 1, id="aborted is not tried again"),
        pytest.param(grpc.StatusCode.RESOURCE_EXHAUSTED, "1", 1, id="exhausted is not tried again"),
        pytest.param(grpc.StatusCode.INTERNAL, "1", 1, id="internal is not tried again"),
    ],
)
async def test_grpc_takes_the_service_config(code, pushback, attempts):
    """A plain generated client with the committed file retries as the file says, after the 1 ms that it is told."""
    calls = []

    class Failing(catalog_service_pb2_grpc.CatalogServiceServicer):
        async def ListFormats(self, request, context):  # noqa: N802 - the contract's name
            calls.append(request)
            await context.abort(code, "on purpose", trailing_metadata=(("grpc-retry-pushback-ms", pushback),))

    server = grpc.aio.server()
    catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(Failing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        options = [("grpc.service_config", SERVICE_CONFIG)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            stub = catalog_service_pb2_grpc.CatalogServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.ListFormats(catalog_service_pb2.ListFormatsRequest())
    finally:
        await server.stop(None)

    assert (failed.value.code(), len(calls)) == (code, attempts)
