"""
Mentions: ``@contact.<field>`` in a text, which stands for what the field holds for each recipient.

The bulk endpoint is documented to fill ``@contact.name`` from the request itself; every other field belongs
to contacts that Pindo stores, which a bulk request cannot name. So a text that mentions the name alone may
be left to Pindo, and any other is filled here, before it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: What the bulk endpoint fills from the request itself.
FILLED_BY_PINDO = frozenset({"name"})
#: Other names of the recipient's number, which is what ``@contact.phone`` stands for.
NUMBER_FIELDS = frozenset({"phone", "phonenumber"})

_mention = re.compile(r"@contact\.(\w+)")


class Template:
    """
    A text with mentions, read once and filled for many.

    :param text: such as ``Hello @contact.name, we expect you at @contact.time``.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        #: The field of every mention, in order, repeated as often as it is mentioned.
        self.mentioned: tuple[str, ...] = tuple(_mention.findall(text))
        #: Every field once.
        self.fields: tuple[str, ...] = tuple(dict.fromkeys(self.mentioned))
        self._format = _mention.sub("%s", text.replace("%", "%%"))

    @property
    def is_personal(self) -> bool:
        """Whether the text must be filled here: it mentions more than what the bulk endpoint can fill."""
        return not FILLED_BY_PINDO.issuperset(self.fields)

    def fill(self, values: Sequence[str]) -> str:
        """Return the text with its mentions replaced by ``values``, one for each of :attr:`mentioned`."""
        return self._format % tuple(values)


def has_mention(text: str) -> bool:
    """Return whether Pindo could find a mention in ``text``, and so fill a second time what was filled."""
    return "@contact." in text and _mention.search(text) is not None
