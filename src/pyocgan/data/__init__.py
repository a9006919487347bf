"""Images from folders, archives, arrays and named data sets; nothing here imports torch."""

from .decode import UnreadableImage
from .fetch import fetch
from .inferring import infer_rule
from .named import NAMED
from .opening import open_parts, open_source
from .protocols import Split, protocol_1, protocol_2
from .reading import SKIPPING, Images, read, read_batches
from .rule import ImageRule, averaged_down
from .source import Source

__all__ = [
    "NAMED",
    "SKIPPING",
    "ImageRule",
    "Images",
    "Source",
    "Split",
    "UnreadableImage",
    "averaged_down",
    "fetch",
    "infer_rule",
    "open_parts",
    "open_source",
    "protocol_1",
    "protocol_2",
    "read",
    "read_batches",
]
