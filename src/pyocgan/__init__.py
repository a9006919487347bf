"""pyocgan: learn one class of images, find what does not belong to it."""

__version__ = "0.1.0"
