"""Which call a fault hits, and the quotas' sliding minute."""

import pytest

from pictord.sandbox import Quota, UnknownFault, faults
from pictord.sandbox.chance import Chance, Occurrences
from pictord.sandbox.fault import Fault
from pictord.sandbox.faults import FaultBook
from pictord.sandbox.latency import gemini_seconds, openai_seconds
from pictord.sandbox.quotas import Quotas


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def chance(prompt="a fox", provider="openai", occurrence=1, seed=0):
    return Chance(seed, provider, prompt, occurrence)


def kinds(book, *chances, model="gpt-image-2", operation="generate"):
    taken = [book.take(one, model=model, operation=operation) for one in chances]
    return [fault and fault.kind for fault in taken]


def test_a_fault_with_times_is_used_up():
    """Two calls fail, the third does not."""
    book = FaultBook(Clock())
    book.add("server_error", times=2)

    assert kinds(book, chance(), chance(), chance()) == ["server_error", "server_error", None]


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({"model": "gpt-image-2"}, True),
        ({"model": "another"}, False),
        ({"operation": "edit"}, False),
        ({"prompt_contains": "fox"}, True),
        ({"prompt_contains": "hen", "operation": "generate"}, False),
    ],
)
def test_a_fault_hits_only_what_it_matches(match, hit):
    """All given conditions must hold."""
    book = FaultBook(Clock())
    book.add("server_error", match=match)

    assert ["server_error" if hit else None] == kinds(book, chance())


def test_a_fault_of_one_provider_spares_the_other():
    """A rule for Gemini, and one of a kind that only Gemini has, leave OpenAI alone."""
    book = FaultBook(Clock())
    book.add("rate_limit", provider="gemini")
    book.add("finish_reason")

    assert kinds(book, chance(), chance(provider="gemini")) == [None, "rate_limit"]


def test_a_scripted_fault_holds_between_its_times():
    """From 10 to 20 seconds after the script was started, not before and not after."""
    clock = Clock()
    book = FaultBook(clock)
    clock.now = 100.0
    book.start_script([{"kind": "overloaded", "from_s": 10, "until_s": 20}])

    taken = []
    for clock.now in (105.0, 110.0, 119.9, 120.0):
        taken += kinds(book, chance())

    assert taken == [None, "overloaded", "overloaded", None]


def test_a_probable_fault_falls_by_prompt_and_occurrence_not_by_order():
    """The same calls in another order get the same faults, and about the asked share of them."""
    book = FaultBook(Clock())
    book.add("server_error", probability=0.3)
    calls = [chance(f"prompt {n}", occurrence=k) for n in range(100) for k in (1, 2)]

    forward = kinds(book, *calls)

    assert forward == kinds(book, *reversed(calls))[::-1]
    assert 40 <= forward.count("server_error") <= 80


def test_occurrences_count_each_prompt_for_itself():
    """Other prompts in between do not change which occurrence a call is."""
    occurrences = Occurrences(seed=1)

    counted = [
        occurrences.next(*pair).occurrence
        for pair in [("openai", "a"), ("openai", "b"), ("gemini", "a"), ("openai", "a")]
    ]

    assert counted == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("headers", "openai", "gemini"),
    [
        (["rate_limit"], [Fault("rate_limit")], [Fault("rate_limit")]),
        (["openai:rate_limit;retry_after=7"], [Fault("rate_limit", {"retry_after": "7"})], []),
        (["openai:slow_down, gemini:internal"], [Fault("slow_down")], [Fault("internal")]),
        (
            ["finish_reason;reason=NO_IMAGE;parts=absent"],
            [],
            [Fault("finish_reason", {"reason": "NO_IMAGE", "parts": "absent"})],
        ),
        (
            ["stall", "missing_usage"],
            [Fault("stall"), Fault("missing_usage")],
            [Fault("stall"), Fault("missing_usage")],
        ),
    ],
)
def test_headers_name_faults(headers, openai, gemini):
    """Several, with arguments, for both providers or by prefix for one."""
    assert (openai, gemini) == (faults.from_headers(headers, "openai"), faults.from_headers(headers, "gemini"))


def test_a_latency_header_may_name_its_provider():
    """An unnamed one holds for both, a named one for its own."""
    assert faults.latency_from_headers(["20"], "openai") == 0.02
    assert None is faults.latency_from_headers(["gemini:20"], "openai")
    assert faults.latency_from_headers(["gemini:20,openai:30"], "openai") == 0.03


@pytest.mark.parametrize(
    "fault", [{"kind": "nonsense"}, {"kind": "stall", "provider": "acme"}, {"kind": "stall", "match": {"size": "1K"}}]
)
def test_a_fault_that_does_not_exist_is_refused(fault):
    """A typo must not look like a healthy provider."""
    with pytest.raises(UnknownFault):
        FaultBook(Clock()).add(**fault)


def test_latency_depends_on_what_is_asked_and_not_on_when():
    """The same prompt, occurrence and seed wait as long; any other waits differently."""
    asked = {"size": (1024, 1024), "quality": "high", "edit": False}

    assert openai_seconds(chance(), **asked) == openai_seconds(chance(), **asked)
    others = [chance("a hen"), chance(occurrence=2), chance(seed=5)]
    assert len({openai_seconds(one, **asked) for one in [chance(), *others]}) == 4


def test_latency_is_spread_around_the_documented_medians():
    """Half of the calls at 1 megapixel and high quality take less than 110 s; half of Gemini's at 1K less than 12 s."""
    many = [chance(f"prompt {n}") for n in range(999)]

    high = sorted(openai_seconds(one, size=(1024, 1024), quality="high", edit=False) for one in many)
    small = sorted(gemini_seconds(one, size="1K", thinking=False, edit=False) for one in many)

    assert 100 < high[499] < 120
    assert 11 < small[499] < 13
    assert high[-1] <= 280


def test_a_quota_is_a_strict_sliding_minute():
    """Within any 60 seconds no more pictures than allowed; refused calls do not count, and the wait is exact."""
    clock = Clock()
    quotas = Quotas({"openai": Quota(images_per_minute=3)}, clock)
    assert quotas.take("openai", "key", 2) is None
    clock.now = 30.0
    assert quotas.take("openai", "key", 1) is None

    assert quotas.take("openai", "key", 1) == (30.0, 3)
    assert quotas.take("openai", "another key", 1) is None
    assert quotas.take("gemini", "key", 9) is None
    clock.now = 60.0
    assert quotas.take("openai", "key", 2) is None
    assert quotas.take("openai", "key", 1) == (30.0, 3)


def test_a_request_quota_counts_calls():
    """Two requests a minute, however many pictures they ask for."""
    quotas = Quotas({"gemini": Quota(requests_per_minute=2)}, Clock())

    assert [quotas.take("gemini", "key", 5) for _ in range(3)] == [None, None, (60.0, 2)]
