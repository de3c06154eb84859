"""Where Gemini's requests go, by the account."""

import pytest

from contract.adapter_rig import VERIFY
from pictord.providers.gemini import GeminiAdapter, GeminiSettings


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (GeminiSettings(api_key="k"), "https://generativelanguage.googleapis.com/"),
        (GeminiSettings(project="p"), "https://aiplatform.googleapis.com/"),
        (GeminiSettings(project="p", location="eu"), "https://aiplatform.eu.rep.googleapis.com/"),
        (GeminiSettings(project="p", location="us-central1"), "https://us-central1-aiplatform.googleapis.com/"),
        (GeminiSettings(api_key="k", base_url="http://127.0.0.1:9"), "http://127.0.0.1:9"),
    ],
    ids=["developer", "vertex", "multi-region", "region", "own"],
)
def test_every_account_has_its_address(settings: GeminiSettings, url: str) -> None:
    """A given base URL wins; otherwise Google's address for the kind of account and its location."""
    assert url == settings.url


@pytest.mark.parametrize("both", [True, False])
def test_an_account_is_one_or_the_other(*, both: bool) -> None:
    """A key and a project, or neither, is a mistake that is said at once."""
    with pytest.raises(ValueError, match="either an API key or a Vertex project"):
        GeminiSettings(api_key="k" if both else None, project="p" if both else None)


@pytest.mark.parametrize("settings", [GeminiSettings(api_key="k"), GeminiSettings(project="p")], ids=["key", "vertex"])
async def test_the_address_is_ours_and_not_the_environments(
    settings: GeminiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account without a base URL goes to Google, whatever the SDK would read elsewhere."""
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://127.0.0.1:9")

    adapter = GeminiAdapter(settings, verify=VERIFY)
    await adapter.close()

    assert settings.url == adapter._client._api_client._http_options.base_url
