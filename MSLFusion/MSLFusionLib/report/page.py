"""The report's HTML: small builders for text, tables and pictures, and the page around them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from MSLFusionLib.report.png import data_uri, grey_png

_STYLE = """
:root { color-scheme: light dark;
  --page:#ffffff; --card:#f5f7f9; --ink:#1c2128; --soft:#57606a; --rule:#d8dee4; --ct:#b3500b; --mr:#0b62b3; }
@media (prefers-color-scheme: dark) { :root {
  --page:#15191f; --card:#1d232b; --ink:#dde3ea; --soft:#9aa5b1; --rule:#343c46; --ct:#f2a154; --mr:#6cb6ff; } }
* { box-sizing:border-box }
body { margin:0; background:var(--page); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif }
main { max-width:1180px; margin:0 auto; padding:32px 24px 64px }
h1 { font-size:1.9rem; line-height:1.2; margin:0 0 4px } h2 { font-size:1.25rem; margin:44px 0 6px }
p { margin:6px 0 12px; max-width:78ch } .soft { color:var(--soft) }
.warning { border-left:4px solid #cf6a1e; background:var(--card); border-radius:0 10px 10px 0; padding:10px 14px }
.dial { height:6px; border-radius:3px; margin:14px 0 22px; background:linear-gradient(90deg,#f2a154,#8f6f9e,#3f8fe0) }
.facts { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px; margin:20px 0 }
.fact { background:var(--card); border-radius:10px; padding:12px 14px }
.fact b { display:block; font-size:1.3rem; line-height:1.25; font-variant-numeric:tabular-nums }
.fact span { color:var(--soft); font-size:.85rem }
figure { margin:14px 0 6px } figure img { display:block; width:100%; height:auto; border-radius:10px }
figure.plain img { border-radius:0 }
figcaption { color:var(--soft); font-size:.9rem; margin-top:6px; max-width:95ch }
.scroll { overflow-x:auto }
table { border-collapse:collapse; font-size:.9rem; margin:10px 0; font-variant-numeric:tabular-nums }
th,td { text-align:right; padding:5px 12px; border-bottom:1px solid var(--rule); white-space:nowrap }
th[colspan] { border-bottom:none; padding-bottom:0; text-align:center }
th { font-weight:600; color:var(--soft) } th:first-child,td:first-child { text-align:left; padding-left:0 }
table.words td { text-align:left; white-space:normal; overflow-wrap:anywhere }
table.words td:first-child { color:var(--soft); white-space:nowrap; vertical-align:top }
.ct { color:var(--ct) } .mr { color:var(--mr) } code { font-size:.88em; overflow-wrap:anywhere }
details { margin:10px 0 } summary { cursor:pointer; color:var(--soft) }
pre { background:var(--card); border-radius:10px; padding:12px 14px; overflow-x:auto; font-size:.8rem }
.viewer { background:#0e1116; color:#d7dce3; border-radius:10px; padding:16px; display:flex; flex-wrap:wrap;
  gap:20px 28px; align-items:center; margin:14px 0 }
.viewer .screen { flex:0 1 440px; background-repeat:no-repeat; min-width:260px }
.viewer .knobs { flex:1 1 300px } .viewer label { display:block; margin:14px 0 2px }
.viewer input { width:100%; accent-color:#8f9fd0 } .viewer output { font-weight:600; font-variant-numeric:tabular-nums }
.viewer .ends { display:flex; justify-content:space-between; font-size:.85rem; color:#98a2b0 }
footer { margin-top:56px; color:var(--soft); font-size:.85rem; border-top:1px solid var(--rule); padding-top:12px }
@media print { .viewer { display:none } }
"""

_VIEWER_SCRIPT = """
(function () {
  var box = document.getElementById("viewer"), screen = box.querySelector(".screen");
  var strips = JSON.parse(box.dataset.strips), names = JSON.parse(box.dataset.names);
  var slices = JSON.parse(box.dataset.slices);
  var lam = document.getElementById("dial"), cut = document.getElementById("cut");
  function show() {
    screen.style.backgroundImage = "url(" + strips[cut.value] + ")";
    screen.style.backgroundPosition = (names.length > 1 ? 100 * lam.value / (names.length - 1) : 0) + "% 0";
    document.getElementById("dial-now").textContent = names[lam.value];
    document.getElementById("cut-now").textContent = slices[cut.value];
  }
  lam.oninput = cut.oninput = show; show();
})();
"""


def text(value: Any) -> str:
    """`value` as safe HTML text; numbers in a readable length."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return escape(f"{value:.4g}")
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(key))} {text(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(text(item) for item in value)
    return escape(str(value))


def section(heading: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>"


def paragraph(sentence: str, soft: bool = False) -> str:
    """One paragraph of plain text."""
    return f"<p{' class=soft' if soft else ''}>{escape(sentence)}</p>"


def warning(sentence: str) -> str:
    """A sentence that nobody must miss."""
    return f"<p class=warning>{escape(sentence)}</p>"


def picture(png: bytes, caption: str, dark_png: bytes | None = None) -> str:
    """A figure; with `dark_png`, that one stands on a dark page."""
    image = f'<img src="{data_uri(png)}" alt="{escape(caption)}">'
    if dark_png is not None:
        source = f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(dark_png)}">'
        image = f"<picture>{source}{image}</picture>"
    kind = ' class="plain"' if dark_png is not None else ""
    return f"<figure{kind}>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def facts(items: Iterable[tuple[str, str]]) -> str:
    """Large figures with a line under each: (figure, what it is)."""
    cells = (f'<div class="fact"><b>{escape(figure)}</b><span>{escape(name)}</span></div>' for figure, name in items)
    return f'<div class="facts">{"".join(cells)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], groups: Sequence[tuple[str, int]] = ()) -> str:
    """A table of figures; cells are HTML already (see `text`). groups: names over so many columns each."""
    over = "".join(f'<th colspan="{wide}">{escape(name)}</th>' for name, wide in groups)
    top = (f"{over}</tr><tr>" if groups else "") + "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def words(items: Mapping[str, Any]) -> str:
    """A two-column table of names and values; nested values are spelt out, absent ones left out."""
    rows = "".join(
        f"<tr><td>{escape(str(key))}</td><td>{text(value)}</td></tr>"
        for key, value in items.items()
        if not (value is None or (isinstance(value, str | Mapping | Sequence) and len(value) == 0))
    )
    return f'<table class="words"><tbody>{rows}</tbody></table>'


def inputs(record: Mapping[str, Any]) -> str:
    """The files that a run.json names as inputs; nothing where there are none."""
    rows = [
        [text(one["role"]), f"<code>{text(one['path'])}</code>", f"<code>{one['sha256'][:16]}…</code>"]
        for one in record.get("inputs", ())
    ]
    return table(("input", "file", "SHA-256"), rows) if rows else ""


def folded(summary: str, body: str) -> str:
    """Something long that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def viewer(strips: Sequence[np.ndarray], names: Sequence[str], slices: Sequence[int], shown: int, aspect: float) -> str:
    """A picture with two sliders: lambda and slice.

    strips: for each slice, its pictures for all lambdas side by side, (rows, len(names) * columns) in [0, 1].
    names: how each lambda is called; slices: the slice numbers, and the one `shown` first; aspect: width by
    height of one picture.
    """

    def attribute(value: Any) -> str:
        return escape(json.dumps(value), quote=True)

    middle, start = slices.index(shown), len(names) // 2
    return f"""
<div class="viewer" id="viewer" data-strips="{attribute([data_uri(grey_png(s)) for s in strips])}"
 data-names="{attribute(list(names))}" data-slices="{attribute(list(slices))}">
<div class="screen" role="img" aria-label="Hybrid image at the chosen lambda and slice"
 style="aspect-ratio:{aspect:.4f};background-size:{100 * len(names)}% 100%"></div>
<div class="knobs">
<label for="dial">lambda <output id="dial-now"></output></label>
<input type="range" id="dial" min="0" max="{len(names) - 1}" value="{start}">
<div class="ends"><span>CT</span><span>MR</span></div>
<label for="cut">slice <output id="cut-now"></output></label>
<input type="range" id="cut" min="0" max="{len(slices) - 1}" value="{middle}">
</div></div><script>{_VIEWER_SCRIPT}</script>"""


def page(title: str, subtitle: str, body: str, foot: str) -> str:
    """The whole page. `body` is HTML; the rest is text."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head>
<body><main><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p><div class="dial"></div>
{body}
<footer>{escape(foot)}</footer></main></body></html>
"""
