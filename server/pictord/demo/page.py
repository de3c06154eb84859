"""The contact sheet: one page with every picture and preview, and why it looks as it does."""

from html import escape
from pathlib import Path

from pictord.demo.report import Step
from pictord.domain.money import format_usd

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1280px; padding: 0 1rem; }
h1 { margin: 0; font-size: 1.6rem; } .lead { color: var(--soft); margin: .3rem 0 1.6rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 1.2rem; }
article { border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
article > a img { width: 100%; height: 250px; object-fit: contain; background: #8882; display: block; }
.none { height: 250px; display: grid; place-items: center; background: #8882; color: var(--soft); font-weight: 600; }
.previews { display: flex; gap: 4px; padding: 4px 4px 0; } .previews img { height: 56px; border-radius: 4px; }
.text { padding: .7rem .9rem 1rem; } h2 { font-size: 1rem; margin: 0 0 .2rem; }
.asked { color: var(--soft); margin: 0 0 .5rem; }
dl { display: grid; grid-template-columns: auto 1fr; margin: 0; gap: 0 .6rem; }
dt { color: var(--soft); }
dd { margin: 0; }
.tag { border: 1px solid var(--line); border-radius: 99px; padding: 0 .5em; }
.gpt h2::before, .gemini h2::before { content: ""; display: inline-block; width: .6em; height: .6em;
  border-radius: 50%; margin-right: .4em; background: #10a37f; }
.gemini h2::before { background: #4285f4; }
"""


def write_page(path: Path, steps: list[Step]) -> None:
    """Write the page beside the pictures."""
    spent = format_usd(sum(step.cost_nanos for step in steps))
    cards = "\n".join(_card(step) for step in steps)
    path.write_text(f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Pictor demo</title><style>{_STYLE}</style>
<h1>Pictor demo</h1>
<p class="lead">SANDBOX: both engines are simulated. {len(steps)} results, {spent} of the sandbox's money.</p>
<main>
{cards}
</main></html>
""")


def _card(step: Step) -> str:
    engine = "gemini" if step.model.startswith("gemini") else "gpt"
    previews = "".join(
        f'<a href="{escape(file)}"><img src="{escape(file)}" alt="preview"></a>' for file in step.previews
    )
    facts = {
        "row": f'<span class="tag">{escape(step.row)}</span>' if step.row else "",
        "model": escape(step.model),
        "version": escape(step.model_version),
        "attempts": str(len(step.tried) or ""),
        "failed": "".join(_failed(*each.rsplit(" ", 1)) for each in step.tried if not each.endswith(" image")),
        "cost": f"{format_usd(step.cost_nanos)} {escape(step.cost_basis)}",
        "time": f"{step.seconds:.1f} s",
        "adapted": escape(", ".join(step.adaptations)),
        "refused": escape(f"{step.error}: {step.why}" if step.error else ""),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    return f"""<article class="{engine}">{_pictures(step)}
<div class="previews">{previews}</div>
<div class="text"><h2>{escape(step.name)}</h2><p class="asked">{escape(step.asked)}</p>
<dl>{rows}</dl></div></article>"""


def _failed(model: str, outcome: str) -> str:
    """An attempt without a picture, on two lines: both names do not fit on one."""
    return f'<div>{escape(model)}<br><span class="asked">{escape(outcome)}</span></div>'


def _pictures(step: Step) -> str:
    if not step.files:
        return f'<div class="none">{escape(step.error) or "no picture"}</div>'
    return "".join(_linked(file, step.name) for file in step.files)


def _linked(file: str, alt: str) -> str:
    return f'<a href="{escape(file)}"><img src="{escape(file)}" alt="{escape(alt)}" loading="lazy"></a>'
