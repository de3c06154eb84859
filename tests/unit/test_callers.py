"""Callers: who is let in with which key, and where the server may listen."""

import hashlib

import pytest

from pictord.auth.callers import (
    BindingRefused,
    Callers,
    KnownCaller,
    check_binding,
    hash_key,
    new_key,
    require_operator,
)
from pictord.domain.caller import LOCAL, Caller, CallerPolicy, Role
from pictord.domain.reason import Reason
from pictord.errors import GatewayError

OLD, NEW, OPERATOR = "pictor_old-key", "pictor_new-key", "pictor_operator-key"


def callers(pepper: bytes = b"") -> Callers:
    return Callers(
        [
            KnownCaller(
                "content-tool",
                (hash_key(OLD, pepper), hash_key(NEW, pepper)),
                policy=CallerPolicy(allow_free_high_quality=True),
            ),
            KnownCaller("platform", (hash_key(OPERATOR, pepper),), Role.OPERATOR),
        ],
        pepper=pepper,
    )


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        pytest.param([("authorization", f"Bearer {OLD}")], "content-tool", id="bearer, old key"),
        pytest.param([("authorization", f"Bearer {NEW}")], "content-tool", id="bearer, new key"),
        pytest.param([("authorization", f"bearer  {NEW} ")], "content-tool", id="scheme in any case, stray spaces"),
        pytest.param([("x-api-key", OLD)], "content-tool", id="x-api-key"),
        pytest.param([("user-agent", "x"), ("x-api-key", OPERATOR)], "platform", id="among other metadata"),
    ],
)
@pytest.mark.parametrize("pepper", [b"", b"salt and pepper"], ids=["plain hashes", "peppered hashes"])
def test_a_known_key_names_its_caller(metadata, name, pepper):
    """Either live key lets its caller in, in either place."""
    assert callers(pepper).authenticate(metadata).name == name


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param([], id="no key"),
        pytest.param([("authorization", f"Bearer {OLD}x")], id="wrong key"),
        pytest.param([("authorization", f"Basic {OLD}")], id="wrong scheme"),
        pytest.param([("authorization", OLD)], id="no scheme"),
        pytest.param([("authorization", "Bearer ")], id="empty bearer"),
        pytest.param([("authorization", "")], id="empty authorization"),
        pytest.param([("x-api-key", f"Bearer {OLD}")], id="bearer in the wrong place"),
        pytest.param([("x-api-key", "")], id="empty x-api-key"),
        pytest.param([("api-key", OLD)], id="key under another name"),
        pytest.param([("cookie", f"x-api-key={OLD}")], id="key in a cookie"),
        pytest.param([("x-api-key", OLD), ("authorization", f"Bearer {OLD}")], id="twice the same"),
        pytest.param([("x-api-key", OLD), ("x-api-key", OPERATOR)], id="two keys"),
        pytest.param([("x-api-key", OLD.encode())], id="bytes"),
        pytest.param([("x-api-key", hash_key(OLD))], id="the hash instead of the key"),
        pytest.param([("x-api-key", "k" * 100_000)], id="oversized"),
        pytest.param([("x-api-key", "schlüssel")], id="not ASCII"),
    ],
)
def test_anything_else_is_not_let_in(metadata):
    """Without exactly one known key in the right place the call is UNAUTHENTICATED, and no key is repeated back."""
    with pytest.raises(GatewayError) as caught:
        callers().authenticate(metadata)

    assert caught.value.reason is Reason.UNAUTHENTICATED
    assert OLD not in str(caught.value)


def test_a_peppered_hash_does_not_open_without_the_pepper():
    """Hashes made with a pepper are useless without it."""
    known = [KnownCaller("content-tool", (hash_key(OLD, b"pepper"),))]

    with pytest.raises(GatewayError):
        Callers(known).authenticate([("x-api-key", OLD)])


def test_a_caller_brings_its_role_and_policy():
    """Role and policy come from the configuration."""
    caller = callers().authenticate([("x-api-key", OLD)])

    assert caller == Caller("content-tool", Role.CALLER, CallerPolicy(allow_free_high_quality=True))
    assert callers().authenticate([("x-api-key", OPERATOR)]).is_operator


def test_without_keys_everyone_is_local():
    """With no callers configured the caller is `local`, an operator, whatever it presents."""
    assert Callers().authenticate([("x-api-key", "anything")]) is LOCAL


@pytest.mark.parametrize(
    ("known", "complaint"),
    [
        pytest.param([KnownCaller("a", ("0" * 64,)), KnownCaller("a", ("1" * 64,))], "name of its own", id="same name"),
        pytest.param([KnownCaller("", ("0" * 64,))], "name of its own", id="no name"),
        pytest.param([KnownCaller("a", ("0" * 64,)), KnownCaller("b", ("0" * 64,))], "shares a key", id="same key"),
        pytest.param([KnownCaller("a", ("0" * 64, "0" * 64))], "shares a key", id="same key twice"),
        pytest.param([KnownCaller("a", ())], "one key hash", id="no key"),
        pytest.param([KnownCaller("a", ("0" * 64, "1" * 64, "2" * 64))], "one key hash", id="three keys"),
        pytest.param([KnownCaller("a", ("pictor_plain",))], "64 hexadecimal", id="a key instead of its hash"),
        pytest.param([KnownCaller("a", ("A" * 64,))], "64 hexadecimal", id="upper case"),
    ],
)
def test_a_broken_configuration_is_refused(known, complaint):
    """Ambiguous or malformed callers are refused at start, by name."""
    with pytest.raises(ValueError, match=complaint):
        Callers(known)


def test_a_new_key_has_256_bits_and_is_recognisable():
    """Keys start with our prefix and are never the same."""
    keys = {new_key() for _ in range(20)}

    assert len(keys) == 20
    assert all(key.startswith("pictor_") and len(key) == len("pictor_") + 43 for key in keys)


def test_a_plain_hash_is_what_sha256sum_prints():
    """Operators can hash keys with common tools."""
    assert hash_key(OLD) == hashlib.sha256(OLD.encode()).hexdigest()


def test_hashes_are_not_in_the_representation():
    """A configuration that is logged shows no hash."""
    assert hash_key(OLD) not in repr(KnownCaller("a", (hash_key(OLD),)))


def test_only_operators_pass_where_operators_are_required():
    """A caller is refused by role, an operator passes."""
    require_operator(LOCAL, "switch providers")

    with pytest.raises(GatewayError) as caught:
        require_operator(Caller("content-tool"), "switch providers")
    assert caught.value.reason is Reason.PERMISSION_DENIED
    assert caught.value.metadata == {"caller": "content-tool", "role": "caller"}


LOOPBACK = ["127.0.0.1:50051", "127.9.9.9:0", "[::1]:50051", "localhost:50051", "unix:/run/pictor.sock"]
ELSEWHERE = ["0.0.0.0:50051", "[::]:50051", "10.0.0.7:50051", "pictor.internal:50051", ":50051", "*:50051"]


@pytest.mark.parametrize("listen", LOOPBACK)
def test_loopback_needs_no_keys(listen):
    """On this machine the server may run without callers."""
    check_binding(listen, has_keys=False, sandbox=False)


@pytest.mark.parametrize("listen", ELSEWHERE)
def test_elsewhere_keys_are_needed(listen):
    """Reachable from elsewhere without keys, the server refuses to start and says what would work."""
    with pytest.raises(BindingRefused, match="configure callers"):
        check_binding(listen, has_keys=False, sandbox=False)


@pytest.mark.parametrize("listen", ELSEWHERE)
@pytest.mark.parametrize(("has_keys", "sandbox"), [(True, False), (False, True)], ids=["keys", "sandbox"])
def test_with_keys_or_in_the_sandbox_it_may_listen_anywhere(listen, has_keys, sandbox):
    """Keys protect; the sandbox has nothing to protect."""
    check_binding(listen, has_keys=has_keys, sandbox=sandbox)
