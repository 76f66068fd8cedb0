"""Reading, writing, auditing and splitting labelled structures."""

from forcewright.data.formats import FORMATS, describe, read, read_with_summary, write

__all__ = ["FORMATS", "describe", "read", "read_with_summary", "write"]
