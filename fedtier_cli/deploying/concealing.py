"""Takes colours, and whatever looks like a secret, out of what other programs print. Pure."""

from __future__ import annotations

import re
from typing import Final

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_HIDDEN: Final = "[hidden]"
_SECRETS: Final = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"),  # a signed token
    re.compile(r"(?<=://)[^/@\s'\"]+(?=@)"),  # a user's name and password in an address
    re.compile(r"(?i)\b(?:aws_)?(?:secret(?:_?access)?_?key|session_?token|password)[\"']?\s*[:=]\s*[\"']?[^\s\"',}]+"),
)


def concealed(text: str) -> str:
    """Return a text with private keys, tokens, passwords in addresses and named secrets replaced.

    Modules of Ansible and providers of Terraform hide what they know to be secret; this is for what they quote unasked.
    """
    for secret in _SECRETS:
        text = secret.sub(_HIDDEN, text)
    return text


def without_colour(text: str) -> str:
    """Return a text without the codes by which terminals change the colour."""
    return _COLOUR.sub("", text)
