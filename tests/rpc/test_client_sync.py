"""What only the blocking client has to promise: threads, Ctrl-C, early leaving, and that it is the same client."""

import asyncio
import inspect
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

import pictor
from canned_gateway import (
    accepted,
    answers,
    canned_gateway,
    completed,
    download,
    generation,
    image,
    picture,
)
from pictor.client import Client
from pictor.v1.catalog_service_pb2 import ListModelsResponse
from pictor.v1.image_service_pb2 import GenerateResponse, GenerateStreamResponse
from pictor.wire import now

PICTURE = bytes(range(256)) * 20
LOG = [accepted(1), *picture(2, PICTURE), completed(3, generation(image(PICTURE)))]


@pytest.fixture
def gateway():
    with canned_gateway() as running:
        yield running


@pytest.fixture
def client(gateway):
    with pictor.SyncClient(gateway.address) as connected:
        yield connected


def public(kind):
    return {name: member for name, member in vars(kind).items() if not name.startswith("_") and callable(member)}


def all_calls(kind):
    return {name: each for parent in kind.__mro__ for name, each in public(parent).items()}


def test_every_call_is_there_with_the_same_arguments_and_words():
    """No call of the asyncio client is forgotten, and each says of itself what it says there."""
    waiting, blocking = all_calls(Client), all_calls(pictor.SyncClient)

    assert waiting.keys() == blocking.keys()
    for name in waiting.keys() - {"close"}:
        assert inspect.signature(blocking[name]) == inspect.signature(waiting[name])
        assert blocking[name].__doc__ == waiting[name].__doc__
    took, takes = (inspect.signature(kind).parameters for kind in (Client, pictor.SyncClient))
    assert took.keys() == takes.keys()


def test_leaving_a_loop_early_cancels_the_call(gateway, client):
    """`break`, and the gateway knows at once; no `close` is needed."""
    gone = threading.Event()

    def endless(_, context):
        context.add_callback(gone.set)
        yield from answers(GenerateStreamResponse, LOG[:1])
        gone.wait()

    gateway.handlers["GenerateStream"] = endless

    for event in client.stream("a red fox"):
        assert isinstance(event, pictor.Accepted)
        break

    assert gone.wait(10)


@pytest.mark.parametrize("call", ["client.models()", "list(client.stream('a red fox'))"])
def test_ctrl_c_ends_a_call(gateway, call):
    """In a real process: KeyboardInterrupt where the call stands, and the gateway is left."""
    reached, gone = threading.Event(), threading.Event()

    def wait(_, context):
        context.add_callback(gone.set)
        reached.set()
        gone.wait()
        return ListModelsResponse()

    def wait_in_stream(request, context):
        yield from answers(GenerateStreamResponse, LOG[:1])
        wait(request, context)

    gateway.handlers |= {"ListModels": wait, "GenerateStream": wait_in_stream}
    program = f"""
import pictor
with pictor.SyncClient({gateway.address!r}) as client:
    try:
        {call}
    except KeyboardInterrupt:
        print("interrupted")
"""

    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as ran:  # noqa: S603 - ours
        assert reached.wait(30)
        ran.send_signal(signal.SIGINT)
        said = ran.stdout.read()

    assert (ran.returncode, said) == (0, "interrupted\n")
    assert gone.wait(10)


def test_threads_share_a_client(gateway, client):
    """Many calls at once on one connection; each gets its own picture."""
    together = threading.Barrier(6)

    def draw(request, _):
        together.wait(20)  # all of them are under way at once
        data = request.prompt.encode() * 1000
        answer = GenerateResponse(generation=generation(image(data)))
        answer.generation.outputs[0].image.data = data
        return answer

    gateway.handlers["Generate"] = draw
    prompts = [f"fox {number}" for number in range(6)]

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(client.generate, prompts))

    assert [each.picture.data[:5].decode() for each in made] == prompts
    assert len({request.request_id for request in gateway.requests("Generate")}) == 6


def test_closing_ends_the_calls_of_other_threads(gateway):
    """Who waits is told; nobody hangs."""
    reached, gone = threading.Event(), threading.Event()

    def wait(_, context):
        context.add_callback(gone.set)
        reached.set()
        gone.wait()
        return ListModelsResponse()

    gateway.handlers["ListModels"] = wait
    client = pictor.SyncClient(gateway.address)

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(client.models)
        assert reached.wait(10)
        client.close()
        with pytest.raises(pictor.PictorError) as caught:
            pending.result(10)

    assert caught.value.code is grpc.StatusCode.CANCELLED


async def test_it_works_where_a_loop_runs(gateway, client):
    """As in a notebook: the loop is held up, and left as it was, also by an iterator that nobody finishes."""
    gateway.handlers["GenerateStream"] = lambda *_: iter(answers(GenerateStreamResponse, LOG))
    gateway.handlers["DownloadImage"] = download(PICTURE)

    events = list(client.stream("a red fox"))
    unfinished = client.stream("a red fox")
    next(unfinished)
    del unfinished
    downloaded = client.download("img_1")
    await asyncio.sleep(0)

    assert [type(event).__name__ for event in events] == ["Accepted", "Image", "Completed"]
    assert downloaded.data == PICTURE


def test_a_call_that_would_wait_for_a_loop_is_a_mistake():
    """The blocking wire never awaits a loop; if it did, that is said and nothing hangs."""
    with pytest.raises(RuntimeError, match="waits for an event loop"):
        now(asyncio.sleep(0))
