"""Fills the templates: text is escaped, and only the page's own style and script are allowed."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from liere_cli.report.plots.colours import DARK, PAPER
from liere_cli.report.plots.scene import Paint

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """A template filled with values. Raises jinja2.UndefinedError for a missing one."""
    style, script = _style(), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template(template)
    return page.render(policy=policy, style=style, script=script, **values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("liere_cli.report.html", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    """The style sheet after the palettes, which plots in files share."""
    light, dark = _properties(PAPER), _properties(DARK)
    palettes = (
        f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    )
    return palettes + _asset("page.css")


def _properties(palette: Mapping[Paint, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in palette.items())


def _asset(name: str) -> str:
    return (files("liere_cli.report.html") / "templates" / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    """The source expression of a content security policy for an inline element."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
