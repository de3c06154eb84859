"""Where Gemini's requests go, by the account."""

import pytest

from pictord.providers.gemini import GeminiSettings


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
