"""`pictord simulate`: its table, its CSV and its plot tell the same, and what is wrong is one sentence."""

import csv
import os
import re
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from pictord import cli
from pictord.domain.money import format_usd
from pictord.domain.request import Tier
from pictord.whatif import plot
from pictord.whatif.failure import ReplayError
from pictord.whatif.record import Recorded, line_of
from pictord.whatif.replay import replay
from pictord.whatif.table_file import COLUMNS
from router_world import BANANA, CATALOG, EVERYTHING_UP, GPT, POLICY, draw, edit, mask

TODAY = date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RECORDS = [
    Recorded(draw(), cost_nanos=70_000_000, model=BANANA, time=NOON),
    Recorded(draw(tier=Tier.PRO, count=4), cost_nanos=900_000_000, model=GPT, time=NOON),
    Recorded(edit(mask=mask()), cost_nanos=60_000_000, model=GPT, time=NOON),
    Recorded(draw(max_cost_nanos=1), time=NOON),
]


@dataclass(frozen=True)
class Said:
    """How the command ended."""

    code: int
    out: str
    err: str

    def table(self, first: str) -> list[dict[str, str]]:
        """The rows of the table that has such a column."""
        block = next(each for each in self.out.split("\n\n")[1:] if first in each.splitlines()[0])
        header, *lines = (re.split(r" {2,}", line.strip()) for line in block.splitlines())
        return [dict(zip(header, line, strict=True)) for line in lines]


@pytest.fixture
def simulate(monkeypatch, capsys, tmp_path):
    """Run the command in this process, on the records above."""
    for name in [name for name in os.environ if name.startswith(("PICTOR_", "IMAGE_EDIT_PROVIDER"))]:
        monkeypatch.delenv(name)
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f"{line_of(record)}\n" for record in RECORDS))

    def run(*arguments: str, requests: str = str(log)) -> Said:
        monkeypatch.setattr(sys, "argv", ["pictord", "simulate", "--requests", requests, *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return Said(int(end.value.code or 0), printed.out, printed.err)

    return run


def lines_of(path):
    """The lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# --- the table


def test_both_built_in_policies_are_compared_if_none_is_named(simulate):
    """The command by itself answers what one engine alone would be."""
    said = simulate()

    assert said.code == 0
    assert [row["policy"] for row in said.table("a picture")] == [
        "in force",
        "only-gpt-image-2-high",
        "only-nano-banana-2",
    ]
    assert said.out.startswith("4 recorded requests. ")


def test_the_table_says_what_is_refused_and_what_differs(simulate):
    """Cheaper because it refuses, or draws less than was asked, is there to be seen."""
    said = simulate("--policy", "only-nano-banana-2")

    assert {(r["policy"], r["row"], r["refused, and costs nothing"]) for r in said.table("refused, and")} == {
        ("in force", "standard", "PRICE_CEILING"),
        ("only-nano-banana-2", "standard", "PRICE_CEILING"),
        ("only-nano-banana-2", "edit", "NO_EXACT_CANDIDATE"),
    }
    assert said.table("not drawn as asked") == [
        {"policy": "only-nano-banana-2", "not drawn as asked": "QUALITY_REDUCED", "requests": "1"}
    ]


def test_the_table_sets_it_against_what_was_really_spent(simulate):
    """Only what a policy serves is compared with what that cost."""
    said = simulate("--policy", "only-nano-banana-2")
    rows, served = {row["policy"]: row for row in said.table("really spent")}, said.table("a picture")[0]

    assert rows["in force"]["really spent"] == "$1.03"
    assert rows["in force"]["would cost"] == served["expected"]
    assert rows["in force"]["by another model"] == "0"
    assert (rows["only-nano-banana-2"]["really spent"], rows["only-nano-banana-2"]["by another model"]) == (
        "$0.97",
        "1",
    )


def test_a_difference_is_in_dollars_and_percent_of_the_policy_in_force(simulate):
    """The other policy's cost less the one in force, against the one in force."""
    first, other = simulate("--policy", "only-gpt-image-2-high").table("a picture")
    more = Decimal(other["expected"][1:]) - Decimal(first["expected"][1:])
    said = re.fullmatch(r"\+\$([\d.]+) \(\+(\d+)%\)", other["against the first"])

    assert abs(Decimal(said[1]) - more) <= Decimal("0.01")
    assert abs(int(said[2]) - 100 * more / Decimal(first["expected"][1:])) <= 1


def test_a_policy_file_is_laid_over_the_shipped_one(simulate, tmp_path):
    """It needs only what it changes, like the one in an overlay folder, and may be called anything."""
    (tmp_path / "other.toml").write_text(f"[rows.pro]\ncandidates = ['{BANANA}']\n")

    rows = simulate("--policy", str(tmp_path / "other.toml")).table("model")

    assert {row["model"] for row in rows if row["row"] == "pro" and row["policy"] == "in force"} == {GPT}
    assert {row["model"] for row in rows if row["row"] == "pro" and row["policy"] != "in force"} == {BANANA}


# --- the CSV


def test_the_csv_adds_up_to_the_table(simulate, tmp_path):
    """One line for each policy, row and model or reason; their sums are the table's totals."""
    path = tmp_path / "out.csv"

    said = simulate("--csv", str(path))

    lines = lines_of(path)
    assert tuple(lines[0]) == COLUMNS
    for row in said.table("a picture"):
        own = [line for line in lines if line["policy"] == row["policy"]]
        served = [line for line in own if not line["refused"]]
        assert sum(int(line["requests"]) for line in own) == len(RECORDS)
        assert sum(int(line["pictures"]) for line in own) == int(row["pictures"])
        assert sum(int(line["requests"]) for line in own if line["refused"]) == int(row["refused"])
        assert sum(int(line["adapted"]) for line in own) == int(row["adapted"])
        for column, name in (("expected_usd", "expected"), ("worst_case_usd", "at most")):
            nanos = sum(Decimal(line[column]) for line in served) * 10**9
            assert format_usd(int(nanos), 2) == row[name]


def test_the_csv_is_exact(simulate, tmp_path):
    """To the nano-dollar, and without exponents, so that any program adds it up."""
    path = tmp_path / "out.csv"
    report = replay(RECORDS, {"in force": POLICY}, CATALOG, backends=EVERYTHING_UP.backends, today=TODAY)

    simulate("--csv", str(path))

    lines = [line for line in lines_of(path) if line["policy"] == "in force"]
    assert sum(Decimal(line["expected_usd"]) for line in lines) * 10**9 == report.replayed[0].total.expected_nanos
    assert sum(Decimal(line["spent_usd"]) for line in lines) == Decimal("1.03")
    assert all(re.fullmatch(r"\d+\.\d{9}", line[column]) for line in lines for column in line if "usd" in column)


# --- the plot


@pytest.mark.parametrize(("name", "magic"), [("out.png", b"\x89PNG"), ("out.svg", b"<?xml")])
def test_the_plot_is_a_picture_and_always_the_same_one(simulate, tmp_path, name, magic):
    """Drawn twice, it is the same file, so that a repository keeps quiet."""
    path = tmp_path / name

    assert simulate("--plot", str(path)).code == 0
    first = path.read_bytes()
    said = simulate("--plot", str(path))

    assert first.startswith(magic)
    assert path.read_bytes() == first
    assert f"in force {said.table('a picture')[0]['expected']}".encode() in first


def test_the_plot_shows_all_the_money(tmp_path):
    """The bars of a policy, laid end to end, are as long as its cost."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, for this test alone

    report = replay(RECORDS, {"in force": POLICY}, CATALOG, backends=EVERYTHING_UP.backends, today=TODAY)
    axes = Figure().subplots()

    plot._cost(axes, report.replayed, {model.id: model.title for model in CATALOG.models.values()})

    first, second = axes.patches
    usd = first.get_width() + second.get_width()
    assert second.get_x() == first.get_width()
    assert usd == pytest.approx(report.replayed[0].drawn.expected_nanos / 10**9)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["GPT Image 2", "Nano Banana 2"]


def test_without_matplotlib_the_extra_is_named_before_anything_is_done(simulate, monkeypatch, tmp_path):
    """One line that says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    said = simulate("--plot", str(tmp_path / "out.png"))

    assert (said.code, said.out) == (2, "")
    assert said.err == ("pictord: a plot needs matplotlib, which is the extra `plot`: pip install 'pictord[plot]'\n")


def test_matplotlib_is_left_alone_without_a_plot(simulate, monkeypatch):
    """Who wants no plot needs no matplotlib."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert simulate().code == 0


# --- what is wrong


def test_an_unknown_policy_is_named_with_those_there_are(simulate):
    """One sentence, exit code 2."""
    said = simulate("--policy", "cheapest")

    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "pictord: policy 'cheapest': no such file, and none that ships is called so; "
        "there are only-gpt-image-2-high, only-nano-banana-2\n"
    )


WRONG_POLICIES = {
    "not TOML": ("rows", "other.toml: not TOML"),
    "unknown model": ("[rows.pro]\ncandidates = ['dall-e-9']\n", "other.toml: rows 'pro': candidates: no model is"),
    "unknown section": ("[row.pro]\n", "other.toml: unknown section 'row'"),
    "below the cost floor": ("[rules.quality]\nstandard = 'high'\n", "standard: a standard request never"),
}


@pytest.mark.parametrize(("toml", "says"), WRONG_POLICIES.values(), ids=WRONG_POLICIES)
def test_a_wrong_policy_file_is_one_sentence(simulate, tmp_path, toml, says):
    """With the file's own name, exit code 2."""
    (tmp_path / "other.toml").write_text(toml)

    said = simulate("--policy", str(tmp_path / "other.toml"))

    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert said.err.count("\n") == 1


def test_a_bad_line_ends_it_with_its_number(simulate, tmp_path):
    """Nothing is printed of a log that cannot be read to its end."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"request": {"prompt": "x"}}\n{"request": {"prompt": 1}}\n')

    said = simulate(requests=str(path))

    assert (said.code, said.out) == (2, "")
    assert said.err == f"pictord: {path}, line 2: request.prompt: Input should be a valid string\n"


def test_a_plot_of_another_kind_is_refused(simulate, tmp_path):
    """Before anything is replayed."""
    said = simulate("--plot", str(tmp_path / "out.pdf"))

    assert (said.code, said.out) == (2, "")
    assert said.err.endswith("a plot is drawn as .png or .svg\n")
    with pytest.raises(ReplayError):
        plot.check(tmp_path / "out")
