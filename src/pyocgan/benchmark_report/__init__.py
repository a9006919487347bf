"""The page and the Markdown file of a benchmark, from files only; no torch.

`write_benchmark_page` reads what ``ocgan benchmark --out DIR`` wrote, `results_page` what
``ocgan benchmark summarise`` made of it. Numbers of the paper stand in `paper_numbers`.
"""

from .markdown import results_page
from .page import write_benchmark_page

__all__ = ["results_page", "write_benchmark_page"]
