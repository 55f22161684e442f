"""Pages: one HTML file with everything in it, made of tables and pictures."""

import base64
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from glocal.runtime.files import write_text

mpl.use("Agg")
import matplotlib.pyplot as plt

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;
text-align:right;vertical-align:top}td{overflow-wrap:anywhere}td span{white-space:nowrap}
td:first-child,th:first-child{text-align:left}img,video{max-width:100%}pre{background:#f6f6f6;padding:1em;overflow:auto}"""


_INTERVAL = re.compile(r"\[[-+.\d]+, [-+.\d]+\]")


def write_page(path: Path, title: str, body: str) -> None:
    """Write a page whose body is HTML, whole or not at all."""
    title = html.escape(title)
    head = f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
    write_text(path, f"{head}{body}\n")


def table_html(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as HTML."""
    top = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    lines = ("".join(f"<td>{_cell(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(text: str) -> str:
    """Text that may be broken anywhere but within an interval."""
    return _INTERVAL.sub(r"<span>\g<0></span>", html.escape(text))


def figure_html(figure: Any) -> str:
    """A matplotlib figure as HTML; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    plt.close(figure)
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'>"
