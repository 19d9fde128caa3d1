"""Mentions: ``@contact.<field>`` in a text stands for the value of the field for each recipient.

Pindo fills only ``@contact.name`` from a bulk request. Other fields belong to contacts that Pindo stores, which a bulk
request cannot name. So Pindo fills a text that mentions only the name; any other text is filled here before it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Fields that Pindo fills from the bulk request.
FILLED_BY_PINDO = frozenset({"name"})
#: Other names of the recipient's number: ``@contact.phone`` stands for it.
NUMBER_FIELDS = frozenset({"phone", "phonenumber"})

# Pindo does not publish whether it fills @contact.name inside an address such as help@contact.name.rw. So everything
# that looks like a mention counts as one that Pindo could fill.
_findable = re.compile(r"@contact\.(\w+)")
# An address is not filled here: it has a word directly before the mention and another label after it. With only one of
# them (RWF@contact.amount, Dr.@contact.name) it is a mention, which must not be sent unfilled.
_mention = re.compile(rf"(?!(?<=[\w+-])@contact\.[\w-]+\.\w){_findable.pattern}")


class Template:
    """A text with mentions, parsed once and filled for many recipients.

    :param text: such as ``Hello @contact.name, we expect you at @contact.time``.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        #: The field of every mention, in order, as often as it is mentioned.
        self.mentioned: tuple[str, ...] = tuple(_mention.findall(text))
        #: Every field once.
        self.fields: tuple[str, ...] = tuple(dict.fromkeys(self.mentioned))
        #: How many addresses in the text look like a mention; these are sent unchanged.
        self.addresses = len(_findable.findall(text)) - len(self.mentioned)
        self._format = _mention.sub("%s", text.replace("%", "%%"))

    @property
    def is_personal(self) -> bool:
        """Whether the text must be filled here, since it mentions fields that Pindo does not fill."""
        return not FILLED_BY_PINDO.issuperset(self.fields)

    def fill(self, values: Sequence[str]) -> str:
        """Return the text with its mentions replaced by ``values``, one for each of :attr:`mentioned`."""
        return self._format % tuple(values)


def has_mention(text: str, besides: int = 0) -> bool:
    """Return whether Pindo could find a mention in a text that was already filled here, and fill it again.

    :param besides: how many mentions are allowed, since the author wrote them: see :attr:`Template.addresses`.
    """
    return "@contact." in text and len(_findable.findall(text)) > besides
