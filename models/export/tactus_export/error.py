"""The one error of the exporter.

Decides: how a wrong input is said: where it is, what was expected, what was there. Does not decide: what is wrong
(the module that reads it) or what happens then (`cli.main`, the only place that catches it).
"""

from pathlib import Path


class ExportError(Exception):
    """Something given to the exporter cannot be exported."""

    def __init__(self, where: str | Path, expected: str, actual: object, key: str | None = None):
        """`where`: a file or an option; `key`: what in it."""
        self.where, self.key, self.expected = str(where), key, expected
        # One line, whatever a library said.
        self.actual = " ".join(str(actual).split())
        place = self.where if key is None else f"{self.where}: `{key}`"
        super().__init__(f"{place}: expected {expected}, got {self.actual}")
