"""Timings of pyocgan against plain yardsticks: `make bench`; docs/performance.md explains them."""
