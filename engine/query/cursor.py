"""Where a page ended: what the next one is asked with."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from indexers import checks
from indexers.errors import InvalidInput

LENGTH = 1 << 12


@dataclass(frozen=True)
class Cursor:
    """Where a page ended.

    Attributes:
        version: of the collection, which the next page is of too.
        offset: answers, or groups, up to there.
        digest: of the question.
    """

    version: int
    offset: int
    digest: str

    def __str__(self) -> str:
        """Write it as one word."""
        data = json.dumps([self.version, self.offset, self.digest], separators=(",", ":"))
        return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read it.

        Raises:
            InvalidInput: it is none.
        """
        try:
            if len(text) > LENGTH:
                raise ValueError
            found = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            version, offset, digest = found
            number = checks.whole("cursor", version, 0, checks.MOST_ID)
            return cls(number, checks.whole("cursor", offset, 0), checks.text("cursor", digest))
        except (ValueError, TypeError, RecursionError, binascii.Error) as error:
            raise InvalidInput(f"{text[:40]!r} is no cursor: give that of the answers before, as it is") from error
