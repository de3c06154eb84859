"""The pages in docs/ are complete, and true: reasons, commands, links, and the contract's page."""

import re

import pytest
from google.protobuf import descriptor_pb2

from pages import ROOT, Page, broken_links, used
from pictord.domain.reason import Reason
from pictord.rpc.status import CODES

PAGES = {path.stem: Page(f"docs/{path.name}") for path in sorted((ROOT / "docs").glob("*.md"))}
ERRORS, CONTRACT = PAGES["errors"], PAGES["contract"]
SECTIONS = dict(re.findall(r"^### ([A-Z_]+)\n(.*?)(?=^##|\Z)", ERRORS.text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_every_link_leads_somewhere(page):
    """To a file of the repository, and to a heading of it."""
    assert broken_links(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_linked_from_the_readme(name):
    """Nobody looks into a folder."""
    assert any(link.partition("#")[0] == f"docs/{name}.md" for link in Page("README.md").links())


CALLS = [pytest.param(words, id=f"{name}: {' '.join(words)}") for name, page in PAGES.items() for words in page.calls()]


@pytest.mark.parametrize("words", CALLS)
def test_every_command_can_be_typed(words):
    """It exists, with its options."""
    assert used(words).path.startswith(words[0])


def test_every_reason_has_its_section():
    """Exactly those of error_reason.proto, each once."""
    proto = (ROOT / "protos/pictor/v1/error_reason.proto").read_text("utf-8")
    wanted = set(re.findall(r"^  ERROR_REASON_([A-Z_]+) = [1-9]", proto, re.MULTILINE))

    assert SECTIONS.keys() == wanted == {reason.name for reason in Reason}
    assert len(re.findall(r"^### ", ERRORS.text, re.MULTILINE)) == len(wanted)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_each_reason_says_code_cost_repeating_and_what_to_do(reason):
    """In the second line and below; who acts is in bold."""
    head, _, text = SECTIONS[reason.name].partition("\n\n")
    code, cost, repeat = head.split(" · ")

    assert code == f"`{CODES[reason].name}`"
    assert cost
    assert repeat in {"repeat: no", "repeat: later", "repeat: same id"}
    assert re.search(r"\*\*(You|The operator|Nobody)\*\*", text)


def test_bad_input_is_never_worth_repeating_and_free():
    """Refused before money, and refused again."""
    for reason in Reason:
        if CODES[reason].name in {"INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND"}:
            assert "· costs nothing · repeat: no" in SECTIONS[reason.name]


def test_the_contract_page_has_everything_once():
    """Every service, RPC, message and enum has a heading, every field and value a line; no two headings are alike."""
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "protos/pictor.binpb").read_bytes()).file
    ours = [file for file in files if file.package == "pictor.v1"]
    wanted, lines = set(), 0

    def walk(message, outer):
        nonlocal lines
        wanted.add(f"{outer}{message.name}")
        lines += len(message.field)
        for nested in message.nested_type:
            if not nested.options.map_entry:
                walk(nested, f"{outer}{message.name}.")
        for enum in message.enum_type:
            count(enum, f"{outer}{message.name}.")

    def count(enum, outer):
        nonlocal lines
        wanted.add(f"{outer}{enum.name}")
        lines += len(enum.value)

    for file in ours:
        for message in file.message_type:
            walk(message, "")
        for enum in file.enum_type:
            count(enum, "")
        wanted |= {f"{service.name}.{method.name}" for service in file.service for method in service.method}
    headings = re.findall(r"^### (.+)$", CONTRACT.text, re.MULTILINE)

    assert set(headings) == wanted
    assert len(headings) == len(wanted)
    assert len(CONTRACT.anchors()) == len(re.findall(r"^#+ ", CONTRACT.text, re.MULTILINE))
    assert len(re.findall(r"^\| `", CONTRACT.text, re.MULTILINE)) == lines
    assert not re.findall(r"\|  \|$", CONTRACT.text, re.MULTILINE)
