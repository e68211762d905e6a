"""Addresses and fingerprints of machines."""

from __future__ import annotations

import pytest

from orchestrator.domain.addresses import Address, fingerprint, parse_address

# Made by ssh-keygen, which shows this fingerprint for it.
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOIQ+21ANExi43DakTZHIsZVoCCg1RBebqPAoBlONgam"
FINGERPRINT = "SHA256:+FqlCWidfYreAgk6LCcZ2ZpQwTy/Kt7DhjOvSEAFvSY"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("me@spare", Address(user="me", host="spare", port=22)),
        ("me@spare.example:2222", Address(user="me", host="spare.example", port=2222)),
        ("_ci-bot.2@10.0.0.7", Address(user="_ci-bot.2", host="10.0.0.7", port=22)),
        ("root@[2001:db8::1]:22", Address(user="root", host="2001:db8::1", port=22)),
    ],
)
def test_an_address_is_read_and_written_as_people_write_it(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "spare", "@spare", "me@", "me@-oProxyCommand=id", "-l@spare", "me@spare;id", "me@spare\n", "me@a b", "me@spare:0", "me@spare:65536",
     "me@spare:", "me@$(id)", "me@spare/x", "me@2001:db8::1", "a" * 40 + "@spare"],
)  # fmt: skip
def test_t9_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_address(text)


def test_a_fingerprint_is_the_one_that_ssh_shows() -> None:
    assert fingerprint(HOST_KEY) == FINGERPRINT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "SHA256:x",
        f"{HOST_KEY} comment",
        f"{HOST_KEY}\n",
        "ssh-ed25519 " + "A" * 41,
    ],
)
def test_what_is_no_host_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no host key"):
        fingerprint(text)
