"""What self-contained HTML pages are made of: templates, and pictures within the page. No torch.

Pages are Jinja2 templates with autoescape on; pictures stand in them as data URIs.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from .figures import DENSITY, NARROW, STYLES, WIDE, Style

Draw = Callable[[Style, int], bytes]


@dataclass(frozen=True)
class Embedded:
    """One picture as a data URI; width and height in CSS pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """A picture on light or dark paper, for a page and for a phone (None: the same one)."""

    theme: str
    wide: Embedded
    narrow: Embedded | None


def render(template: str, **context: object) -> str:
    """Fill a template of this package; a name that it needs and does not get is an error."""
    environment = Environment(
        loader=PackageLoader("pyocgan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(auroc=format_auroc, percent=format_percent)
    environment.globals["styles"] = STYLES
    return environment.get_template(template).render(**context)


def format_auroc(value: float | None) -> str:
    """Write an AUROC with three decimals, a missing one as a dash."""
    return "–" if value is None else f"{value:.3f}"


def format_percent(share: float | None) -> str:
    """Write a share in 0 … 1 as a percentage with at most one decimal, a missing one as a dash."""
    return "–" if share is None else f"{100 * share:.1f}".removesuffix(".0") + "\u202f%"


def format_duration(seconds: float) -> str:
    """Write a time as people say it: ``"2 min 1 s"``."""
    hours, rest = divmod(round(seconds), 3600)
    if seconds < 10:
        return f"{seconds:.1f} s"
    parts = ((hours, "h"), (rest // 60, "min"), (rest % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def picture(theme: str, draw: Draw, drawn: bytes | None = None) -> Picture:
    """Draw a picture for both widths; `drawn` is the wide one where it exists already."""
    wide = _embedded(drawn or draw(STYLES[theme], WIDE))
    narrow = _embedded(draw(STYLES[theme], NARROW))
    return Picture(theme, wide, None if narrow == wide else narrow)


def data_uri(png: bytes) -> str:
    """Return a PNG as text that a page can hold."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _embedded(png: bytes) -> Embedded:
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # the PNG's header
    return Embedded(data_uri(png), width // DENSITY, height // DENSITY)
