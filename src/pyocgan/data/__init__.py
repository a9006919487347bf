"""Images from folders, archives, arrays and named data sets; nothing here imports torch."""

from .decode import UnreadableImage
from .fetch import fetch
from .inferring import infer_rule, read_inferred
from .named import NAMED
from .opening import ImageSource, Part, open_parts, open_source
from .protocols import Split, protocol_1, protocol_2
from .reading import SKIPPING, Images, copies_note, dark_note, read, read_batches
from .rule import ImageRule, averaged_down
from .source import Source

__all__ = [
    "NAMED",
    "SKIPPING",
    "ImageRule",
    "ImageSource",
    "Images",
    "Part",
    "Source",
    "Split",
    "UnreadableImage",
    "averaged_down",
    "copies_note",
    "dark_note",
    "fetch",
    "infer_rule",
    "open_parts",
    "open_source",
    "protocol_1",
    "protocol_2",
    "read",
    "read_batches",
    "read_inferred",
]
