"""The console's door over HTTP: who comes in, what a POST needs, what every answer carries, how failures look."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from door import OPS, WEB, door
from gateway import gateway
from pictor.v1.image_service_pb2 import GenerateRequest
from pictord.app import Outside
from pictord.auth.callers import BindingRefused, Callers, KnownCaller, hash_key
from pictord.console.pages.sign_in import way_back
from pictord.console.session import LIFETIME, Sessions
from pictord.domain.caller import LOCAL, Role
from pictord.settings import CallerTable

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "server/pictord/console/static/vendor"
CALLERS = (
    CallerTable("web", (hash_key(WEB),)),
    CallerTable("ops", (hash_key(OPS),), role=Role.OPERATOR),
)
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


# --- who comes in


async def test_without_keys_the_loopback_is_an_operator_and_signs_in_nowhere():
    """The design's `local`: no sign-in, and no way out either."""
    async with door() as console:
        page = await console.client.get("/history")

        assert page.status_code == 200
        assert "local" in page.text
        assert "operator" in page.text
        assert "Sign out" not in page.text
        assert (await console.client.get("/sign-in")).headers["location"] == "/"


async def test_with_keys_everybody_signs_in_first():
    """Every page leads to the sign-in and back; a fragment says so where it is, and leaves the page alone."""
    async with door(callers=CALLERS) as console:
        page = await console.client.get("/history?tier=pro")
        part = await console.client.get("/history", headers={"HX-Request": "true"})

        assert (page.status_code, page.headers["location"]) == (303, "/sign-in?next=%2Fhistory%3Ftier%3Dpro")
        assert (part.status_code, part.headers["hx-retarget"]) == (401, "#notice")
        assert "what you typed stays" in part.text
        assert (await console.client.post("/create")).headers["location"] == "/sign-in"


async def test_a_key_signs_its_caller_in_and_out():
    """The session names the caller with its role, leads back, and ends."""
    async with door(callers=CALLERS) as console:
        answer = await console.sign_in(f"  {OPS} ", next="/history?tier=pro")
        page = await console.client.get("/history")
        token = await console.token("/history")
        out = await console.client.post("/sign-out", data={"form_token": token})

        assert (answer.status_code, answer.headers["location"]) == (303, "/history?tier=pro")
        assert "ops" in page.text
        assert "operator" in page.text
        assert out.headers["location"] == "/sign-in"
        assert (await console.client.get("/history")).status_code == 303


async def test_the_cookie_is_out_of_reach():
    """Scripts cannot read it, other sites cannot use it, over HTTPS it goes no other way. It holds no key."""
    async with door(callers=CALLERS, http_url="https://pictures.example") as console:
        answer = await console.client.get("/sign-in")
        cookie = answer.headers["set-cookie"]

    assert {"HttpOnly", "SameSite=strict", "Secure", "Path=/"} <= {each.strip() for each in cookie.split(";")}
    async with door(callers=CALLERS) as console:
        cookie = (await console.sign_in(WEB)).headers["set-cookie"]
        assert "Secure" not in cookie
        assert WEB not in cookie
        assert hash_key(WEB) not in cookie


async def test_an_unknown_key_is_told_so_and_opens_nothing():
    """The problem stands at the field."""
    async with door(callers=CALLERS) as console:
        for key in ("", "pictor_other", hash_key(WEB)):
            answer = await console.sign_in(key)

            assert answer.status_code == 401
            assert 'aria-invalid="true"' in answer.text
            assert "No caller has this key" in answer.text
        assert (await console.client.get("/history")).status_code == 303


async def test_callers_see_their_own_and_operators_everything():
    """The role decides what hangs on the wall, whatever the address asks for."""
    async with door(callers=CALLERS) as console:
        request = GenerateRequest(prompt="seen by operators", max_inline_bytes=0)
        await console.gateway.images.Generate(request, metadata=(("x-api-key", OPS),))

        await console.sign_in(WEB)
        own = await console.client.get("/history")
        other = await console.client.get("/history?caller=ops")
        await console.sign_in(OPS)
        everything = await console.client.get("/history")

        assert "seen by operators" not in own.text + other.text
        assert "seen by operators" in everything.text


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "", "history"])
def test_the_way_back_stays_on_this_site(path):
    """A link to the sign-in cannot lead elsewhere."""
    assert way_back(path) == "/"


# --- sessions


def known(*names):
    return Callers([KnownCaller(name, (hash_key(f"key-{name}"),)) for name in names])


def test_a_session_ends_with_its_time_its_key_and_the_secret():
    """Each of the three alone ends it."""
    time = [NOW]
    sessions = Sessions(known("web", "ops"), b"secret", lambda: time[0])
    cookie = sessions.cookie(sessions.sign_in("key-web"))

    assert sessions.read(cookie).caller.name == "web"
    assert Sessions(known("ops"), b"secret", lambda: NOW).read(cookie) is None
    assert Sessions(known("web"), b"other", lambda: NOW).read(cookie) is None
    time[0] = NOW + LIFETIME
    assert sessions.read(cookie) is None


def test_no_part_of_a_cookie_can_be_changed():
    """Neither who it is, nor until when."""
    sessions = Sessions(known("web", "ops"), b"secret", lambda: NOW)
    web, ops = sessions.sign_in("key-web"), sessions.sign_in("key-ops")
    signature = sessions.cookie(web).rpartition(".")[2]

    for forged in (replace(web, mark=ops.mark), replace(web, expiry=web.expiry + 1), replace(web, nonce="n")):
        text = sessions.cookie(forged).rpartition(".")[0] + "." + signature
        assert sessions.read(text) is None
    for text in ("", ".", "....", "a.b.c.d", "ü.1.2.3"):
        assert sessions.read(text) is None


def test_without_keys_everybody_is_local():
    """Nobody has to sign in, and the session still guards the forms."""
    sessions = Sessions(Callers(), b"secret", lambda: NOW)
    session = sessions.fresh()

    assert session.caller == LOCAL
    assert sessions.read(sessions.cookie(session)) == session
    assert sessions.is_form_token(session, sessions.form_token(session))
    assert not sessions.is_form_token(session, sessions.form_token(sessions.fresh()))


# --- what a POST needs


async def test_a_post_without_the_token_of_its_session_is_refused():
    """Another site's form, or one of another session, does nothing."""
    async with door(callers=CALLERS) as console:
        await console.token()
        for form in ({}, {"form_token": ""}, {"form_token": "0" * 64}):
            answer = await console.client.post("/sign-in", data={**form, "key": WEB})

            assert answer.status_code == 403
            assert "Press again" in answer.text
        assert (await console.client.get("/history")).status_code == 303


async def test_a_session_from_another_time_is_no_use():
    """The clock that ends sessions is the gateway's."""
    time = [NOW]
    async with door(callers=CALLERS, outside=Outside(now=lambda: time[0])) as console:
        await console.sign_in(WEB)
        assert (await console.client.get("/history")).status_code == 200
        time[0] = NOW + LIFETIME + timedelta(seconds=1)
        assert (await console.client.get("/history")).status_code == 303


async def test_a_body_that_is_too_large_is_refused():
    """Before all of it is kept."""
    async with door() as console:
        token = await console.token("/history")
        files = {"key": ("key", b"k" * (22 * 1024 * 1024))}
        answer = await console.client.post("/sign-in", data={"form_token": token}, files=files)

        assert answer.status_code == 413
        assert "20 MiB" in answer.text


# --- what every answer carries


async def test_every_answer_has_the_content_policy():
    """Nothing inline, nobody else's, no frame around it."""
    async with door() as console:
        for path in ("/history", "/sign-in", "/static/console.css", "/nowhere", "/static/nothing.css", "/"):
            headers = (await console.client.get(path)).headers

            policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == "'self'"
            assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert headers["x-content-type-options"] == "nosniff"


async def test_no_page_holds_inline_code_or_a_foreign_address():
    """What the policy would block is not written in the first place."""
    async with door(callers=CALLERS) as console:
        await console.sign_in(OPS)
        for path in ("/history", "/nowhere"):
            text = (await console.client.get(path)).text
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
            assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
            assert re.findall(r'(?:href|src|action)="(?!/|#)', text) == []


async def test_pages_are_not_kept_and_our_files_for_ever():
    """Another's wall does not stay in a browser; a changed file has another address."""
    async with door() as console:
        page = await console.client.get("/history")
        css = re.search(r'href="(/static/console\.css\?v=[0-9a-f]+)"', page.text)[1]
        file = await console.client.get(css)

        assert page.headers["cache-control"] == "no-store"
        assert "immutable" in file.headers["cache-control"]
        assert file.headers["content-type"].startswith("text/css")
        assert (await console.client.get("/static/..%2Fsite.py")).status_code == 404


# --- where it listens


async def test_without_keys_only_this_machines_names_are_answered():
    """A foreign name that resolves to 127.0.0.1 must not make its page an operator."""
    async with door(real=True) as console:
        for host, status in (("localhost:1", 200), ("[::1]:1", 200), ("evil.example:8080", 421)):
            answer = await console.client.get("/history", headers={"Host": host})
            assert answer.status_code == status


async def test_without_keys_it_does_not_listen_beyond_this_machine():
    """As the RPCs do not: whoever reaches it would be an operator."""
    with pytest.raises(BindingRefused, match=r"0\.0\.0\.0"):
        async with gateway(real=True, http_listen="0.0.0.0:0", http_url="http://pictures.example"):
            pass


async def test_pictures_are_served_beside_it():
    """The page of one leads to the picture, byte for byte; the wall to its thumbnail."""
    async with door() as console:
        answer = await console.gateway.images.Generate(GenerateRequest(prompt="beside"))
        found = []
        for path in (f"/generations/{answer.generation.id}", "/history"):
            page = await console.client.get(path)
            link = re.search(r'src="(/images/[^"]+)"', page.text)[1].replace("&amp;", "&")
            found.append((await console.client.get(link)).content)
        whole, small = found

        assert whole == answer.generation.outputs[0].image.data
        assert (small[:4], len(small) < len(whole) / 10) == (b"RIFF", True)


# --- what is vendored


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("htmx.min.js", "htmx.org/dist/htmx.min.js"),
        ("htmx.LICENSE", "htmx.org/LICENSE"),
        ("htmx-sse.min.js", "htmx-ext-sse/dist/sse.min.js"),
        ("htmx-sse.LICENSE", "htmx-ext-sse/LICENSE"),
        ("chart.min.js", "chart.js/dist/chart.umd.min.js"),
        ("chart.LICENSE", "chart.js/LICENSE.md"),
    ],
)
def test_what_is_vendored_is_what_package_json_pins(ours, theirs):
    """A copy, unchanged, with its licence."""
    assert (VENDOR / ours).read_bytes() == (ROOT / "node_modules" / theirs).read_bytes()
