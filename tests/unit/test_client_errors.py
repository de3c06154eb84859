"""The family of errors: a class for each reason, read from the wire with Google's packages or without them."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import pictor
from pictor import failure
from pictor.channel import Target
from pictor.errors import PictorError, kind
from pictord.domain.reason import Reason
from pictord.rpc.status import CODES

AT = Target("pictor:50051", is_tls=False)


class Ended(grpc.RpcError):
    """A failed call as gRPC raises it, on asyncio or blocking."""

    def __init__(self, code, text, *, details=(), status=None, entries=()):
        status = status or status_pb2.Status(code=code.value[0], message=text)
        for each in details:
            packed = any_pb2.Any()
            packed.Pack(each)
            status.details.append(packed)
        self._ends = code, text, ((("grpc-status-details-bin", status.SerializeToString())), *entries)

    def code(self):
        return self._ends[0]

    def details(self):
        return self._ends[1]

    def initial_metadata(self):
        return None

    def trailing_metadata(self):
        return self._ends[2]


def told(reason, code=grpc.StatusCode.UNKNOWN, **metadata):
    """What the client raises for a reason of the gateway."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain="pictor", metadata=metadata)
    return failure.read(Ended(code, "words", details=[info]), AT)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_contract_has_a_class_of_its_own(reason):
    """By its name alone, and the same as by its code unless it says more than that."""
    more = {
        Reason.REQUEST_TOO_LARGE: pictor.InvalidRequest,
        Reason.PRICE_CEILING: pictor.BudgetExhausted,
        Reason.MAX_COST: pictor.BudgetExhausted,
        Reason.DAILY_CAP: pictor.BudgetExhausted,
        Reason.BUDGET_EXHAUSTED: pictor.BudgetExhausted,
    }
    by_code = kind("A_LATER_ONE", CODES[reason])

    assert type(told(reason.name)) is more.get(reason, by_code)
    assert type(told(reason.name)) is not PictorError


def test_what_the_gateway_did_not_say_has_the_class_of_its_code():
    """A proxy's refusal, gRPC's own deadline, a later gateway's reason."""
    cases = {
        grpc.StatusCode.UNAVAILABLE: pictor.Unavailable,
        grpc.StatusCode.DEADLINE_EXCEEDED: pictor.TooLate,
        grpc.StatusCode.PERMISSION_DENIED: pictor.Denied,
        grpc.StatusCode.RESOURCE_EXHAUSTED: pictor.Busy,
        grpc.StatusCode.UNKNOWN: pictor.Failed,
    }

    assert {code: type(failure.read(Ended(code, "words"), AT)) for code in cases} == cases
    assert type(told("A_LATER_ONE", grpc.StatusCode.NOT_FOUND)) is pictor.NotFound


def test_the_classes_in_the_words_of_the_page_are_all_there_are():
    """clients/python/README.md lists each class with what to do."""
    page = (Path(__file__).parents[2] / "clients/python/README.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)

    assert {getattr(pictor, name) for name in listed if hasattr(pictor, name)} == set(PictorError.__subclasses__())


def test_all_that_google_s_packages_write_is_read():
    """The messages of our own are theirs, field for field."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    fields = [error_details_pb2.BadRequest.FieldViolation(field="canvas.ratio", description="20:1 is impossible")]
    details = [
        error_details_pb2.ErrorInfo(reason="OTHER", domain="somebody.else", metadata={"a": "b"}),
        error_details_pb2.ErrorInfo(reason="RATIO_INVALID", domain="pictor", metadata={"paid": "true"}),
        error_details_pb2.BadRequest(field_violations=fields),
        error_details_pb2.QuotaFailure(),
        retry,
    ]
    entries = (("pictor-generation-id", "gen_1"), ("pictor-set-id", "set_1"), ("x-bin", b"\x00"))

    error = failure.read(Ended(grpc.StatusCode.INVALID_ARGUMENT, "words", details=details, entries=entries), AT)

    assert isinstance(error, pictor.InvalidRequest)
    assert (error.reason, error.message, error.paid) == ("RATIO_INVALID", "words", True)
    assert error.metadata == {"set_id": "set_1", "paid": "true"}
    assert error.violations == (pictor.Violation("canvas.ratio", "20:1 is impossible"),)
    assert (error.retry_after_s, error.generation_id) == (1.5, "gen_1")


def test_an_error_travels_between_processes():
    """Pickled, as from a pool of workers, it has lost nothing."""
    error = told("BUDGET_EXHAUSTED", paid="true", generation_id="gen_1")
    error.about("fox", 1.0)

    travelled = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert type(travelled) is pictor.BudgetExhausted
    assert vars(travelled) == vars(error)


def test_a_status_that_contradicts_the_call_is_not_believed():
    """Its code is another one: whoever wrote it, it is not about this end."""
    info = error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="pictor")
    foreign = status_pb2.Status(code=5, message="words")

    error = failure.read(Ended(grpc.StatusCode.INTERNAL, "words", status=foreign, details=[info]), AT)

    assert (type(error), error.reason) == (pictor.Failed, "INTERNAL")


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL])
def test_details_that_are_damaged_do_not_hide_the_error(code):
    """One that cannot be read is left out; the others count."""
    status = status_pb2.Status(code=code.value[0], message="words")
    status.details.add(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff\xff")
    info = error_details_pb2.ErrorInfo(reason="EXPIRED", domain="pictor")

    error = failure.read(Ended(code, "words", status=status, details=[info]), AT)

    assert (error.reason, error.violations) == ("EXPIRED", ())


_BOTH = """
import sys
{before}
import pictor.failure
{after}
from pictor.status_pb2 import ErrorInfo
print(ErrorInfo.DESCRIPTOR.full_name, "google.rpc.error_details_pb2" in sys.modules)
"""
_THEIRS = "from google.rpc import error_details_pb2, status_pb2; import grpc_status.rpc_status"


@pytest.mark.parametrize(
    ("before", "after", "has_theirs"),
    [(_THEIRS, "", True), ("", _THEIRS, True), ("", "", False)],
    ids=["theirs first", "ours first", "ours alone"],
)
def test_googles_packages_may_be_there_or_not(before, after, has_theirs):
    """In a process of its own: whichever is imported first, neither minds the other, and ours asks for neither."""
    program = _BOTH.format(before=before, after=after)

    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603 - ours

    assert ran.stdout == f"pictor.status.ErrorInfo {has_theirs}\n"


_ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {missing} or name.startswith("google.rpc"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def without(*packages):
    """A program's first lines, by which it cannot import these packages, nor google.rpc."""
    return _ALONE.format(missing=packages)


_IMPORTED = """
import pictor
print(all(getattr(pictor, name) for name in pictor.__all__))
files = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items()}
print({name.split(".")[0] for name, file in files.items() if "site-packages" in file})
"""


def test_the_client_needs_grpc_and_protobuf_alone():
    """Everything that `pictor` offers can be imported without what the extra and the server bring."""
    ours = "typer", "rich", "click", "grpc_status", "grpc_health", "grpc_reflection", "grpc_tools"
    program = without(*ours) + _IMPORTED

    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603 - ours

    assert ran.stdout.splitlines()[0] == "True"
    named = set(re.findall(r"'(\w+)'", ran.stdout.splitlines()[1]))
    assert named <= {"grpc", "google", "typing_extensions", "_distutils_hack"}


def test_the_command_says_how_to_install_its_extra():
    """One line, and no traceback."""
    program = without("typer", "rich") + "from pictor.cli import main; main()"

    ran = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)  # noqa: S603 - ours

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == ("pictor: the command is an extra of the client; install it with: pip install 'pictor[cli]'\n")
