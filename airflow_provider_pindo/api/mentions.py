"""Mentions: ``@contact.<field>`` in a text, which stands for what the field holds for each recipient.

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

# Pindo does not publish whether it would fill @contact.name inside an address such as help@contact.name.rw, so what
# it could find is taken to be everything that looks like a mention, wherever it stands.
_findable = re.compile(r"@contact\.(\w+)")
# What is filled here is less: no address, which has a word right before it and another label after it. Either alone
# is a mention (RWF@contact.amount, Dr.@contact.name): it must not go out to everybody as it is written.
_mention = re.compile(rf"(?!(?<=[\w+-])@contact\.[\w-]+\.\w){_findable.pattern}")


class Template:
    """A text with mentions, read once and filled for many.

    :param text: such as ``Hello @contact.name, we expect you at @contact.time``.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        #: The field of every mention, in order, repeated as often as it is mentioned.
        self.mentioned: tuple[str, ...] = tuple(_mention.findall(text))
        #: Every field once.
        self.fields: tuple[str, ...] = tuple(dict.fromkeys(self.mentioned))
        #: How often an address in the text looks like a mention; it goes out as it is written.
        self.addresses = len(_findable.findall(text)) - len(self.mentioned)
        self._format = _mention.sub("%s", text.replace("%", "%%"))

    @property
    def is_personal(self) -> bool:
        """Whether the text must be filled here: it mentions more than what the bulk endpoint can fill."""
        return not FILLED_BY_PINDO.issuperset(self.fields)

    def fill(self, values: Sequence[str]) -> str:
        """Return the text with its mentions replaced by ``values``, one for each of :attr:`mentioned`."""
        return self._format % tuple(values)


def has_mention(text: str, besides: int = 0) -> bool:
    """Return whether Pindo could find a mention in ``text``, and so fill a second time what was filled.

    :param besides: how many it may find there, since whoever wrote the text put them into it: see
        :attr:`Template.addresses`.
    """
    return "@contact." in text and len(_findable.findall(text)) > besides
