"""The mentions of a text: what is filled, and what stays as it was written."""

from __future__ import annotations

import pytest

from airflow_provider_pindo.api.mentions import Template, has_mention


@pytest.mark.parametrize(
    ("text", "fields", "personal"),
    [
        ("Muraho", (), False),
        ("Muraho @contact.name, @contact.name", ("name",), False),
        ("@contact.time @contact.name", ("time", "name"), True),
        ("@contact.phone", ("phone",), True),
        ("ask clinic@contact.", (), False),
        ("100 % of @contact.names", ("names",), True),
    ],
)
def test_the_mentions_of_a_text(text, fields, personal):
    template = Template(text)
    assert template.fields == fields
    assert template.is_personal is personal
    assert has_mention(text) is bool(fields)
    filled = template.fill(["%s"] * len(template.mentioned))
    assert not has_mention(filled)
    assert filled.count("%s") == len(template.mentioned)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("write to help@contact.example.com", ()),
        ("first.last+tag@contact.my-clinic.rw or x-@contact.name.rw", ()),
        ("ask info@contact.example.com about @contact.time", ("time",)),
        ("RWF@contact.amount. Thank you", ("amount",)),
        ("Muraho Dr.@contact.name, ref-@contact.ref", ("name", "ref")),
        ("@contact.name.We expect you", ("name",)),
        ("(@contact.name.rw)", ("name",)),
    ],
)
def test_an_address_is_no_mention_and_a_mention_beside_a_word_is_one(text, fields):
    template = Template(text)
    assert template.fields == fields
    filled = template.fill(["X"] * len(fields))
    assert filled.count("@contact.") == template.addresses
    assert not has_mention(filled, template.addresses)


def test_everything_but_the_mentions_goes_out_as_it_was_written():
    assert Template("5 %s off %, @contact.name!").fill(["A %"]) == "5 %s off %, A %!"
