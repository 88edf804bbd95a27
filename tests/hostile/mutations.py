"""Hypothesis strategies that mutate good safetensors files: some know the format, some do not.

What is drawn may still be a good file; a test says what holds either way.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

from tests.hostile.make import framed

Member: TypeAlias = tuple[str, str]
"""Name and value of a JSON object's member, each as JSON text; an object that is written of them may hold one twice."""
Mutation: TypeAlias = Callable[[st.DrawFn, bytes], bytes]

_SNIPPETS: Final = [
    *(b"0", b"1", b"2", b"-", b"8", b"9" * 19, b".0", b"e1", b",", b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\0"),
    *(b"null", b"true", b"NaN", b'"a"', b'"F32"', b'"U8"', b"[0,0]", b'"__metadata__"', b"\\ud800", b"\xc3\xa9"),
]
_SIZES: Final = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-0",
    "1.0",
    "1e3",
    "true",
    "null",
    '"2"',
    "[]",
    "NaN",
    "Infinity",
    "9" * 5000,
]
_HUGE_SIZES: Final = [str(1 << bits) for bits in (31, 32, 33, 61, 62, 63, 64, 128)] + [str((1 << 63) - 1)]
_DTYPES: Final = [
    *("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"),
    *("F8_E4M3", "C64", "f32", "F32 ", "", "F" * 5000, "\u0130"),
]
_NAMES: Final = ["", "a", "\0", "é", "e\u0301", "😀", "__metadata__", "conv.weight", "conv.weight.lo", "x" * 5000]
_COUNTS: Final = [
    *("0", "1", "-1", "+1", "01", "1.0", "1e3", " 1", "1\n", "\u0661", "\uff11", "", "null"),
    *("4", "262144", "9" * 18, "9" * 19, "9" * 5000),
]
_METRICS: Final = [
    *("{}", "[]", "null", "1", "{", "", '{"loss":NaN}', '{"loss":1e999}', '{"loss":-Infinity}', '{"loss":true}'),
    *('{"loss":"1"}', '{"loss":{}}', '{"loss":1,"loss":2}', '{"\\ud800":1}', '{"":0}', "[" * 4000, '{"a":' * 800),
    *('{"loss":' + "9" * 4000 + "}", '{"loss":1' + " " * 5000 + "}"),
]
_FLOATS: Final = [struct.pack("<f", value) for value in (float("nan"), float("inf"), 1e38, -0.0, 1e-45)] + [
    *(b"\xff" * 8, b"\0" * 7 + b"\x80", b"\xff" * 7 + b"\x7f", b"\0" * 6 + b"\xf0\x7f"),
]


@st.composite
def mutated(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """Draw one of the files, changed one to three times."""
    data = draw(st.sampled_from(files))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        data = draw(st.sampled_from(MUTATIONS))(draw, data)
    if draw(st.integers(0, 9)) == 0:
        other = draw(st.sampled_from(files))
        data = data[: draw(st.integers(0, len(data)))] + other[draw(st.integers(0, len(other))) :]
    return data


def header_length(data: bytes) -> int:
    """Return where a file's header ends, at most at the end of the file."""
    return min(int.from_bytes(data[:8], "little"), max(len(data) - 8, 0))


def members_of(text: bytes | str) -> list[Member]:
    """Return the members of a JSON object; none where the text is no object."""
    try:
        found = json.loads(text)
        return [(json.dumps(key), json.dumps(value)) for key, value in found.items()]
    except (ValueError, RecursionError, AttributeError):
        return []


def object_of(members: Sequence[Member]) -> str:
    """Return the JSON text of an object that has these members, in this order, equal ones too."""
    return "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"


def _change_text(draw: st.DrawFn, data: bytes) -> bytes:
    """Change the header's text without regard to JSON; mostly with a length that fits, so that it is parsed."""
    length = header_length(data)
    header = bytearray(data[8 : 8 + length])
    at = draw(st.integers(0, len(header)))
    header[at : at + draw(st.integers(0, 3))] = draw(st.one_of(st.sampled_from(_SNIPPETS), st.binary(max_size=2)))
    size = len(header) if draw(st.integers(0, 4)) else length
    return struct.pack("<Q", size) + bytes(header) + data[8 + length :]


def _change_members(draw: st.DrawFn, data: bytes) -> bytes:
    """Change tensors and metadata as JSON that somebody wrote on purpose."""
    length = header_length(data)
    members = members_of(data[8 : 8 + length])
    if not members:
        return data
    at = draw(st.one_of(st.just(0), st.integers(0, len(members) - 1)))  # metadata stands in front
    name, value = members[at]
    change = draw(st.sampled_from(["value", "value", "value", "name", "twice", "drop", "swap", "deep"]))
    if change == "value":
        changed = _change_metadata if json.loads(name) == "__metadata__" else _change_tensor
        members[at] = name, changed(draw, value)
    elif change == "name":
        members[at] = json.dumps(draw(st.sampled_from(_NAMES))), value
    elif change == "twice":
        members.insert(draw(st.integers(0, len(members))), members[at])
    elif change == "drop":
        del members[at]
    elif change == "swap":
        other = draw(st.integers(0, len(members) - 1))
        members[at], members[other] = (name, members[other][1]), (members[other][0], value)
    else:
        bracket = draw(st.sampled_from(["[", '{"a":']))
        members[at] = name, bracket * draw(st.sampled_from([2, 900, 5000]))
    return framed(object_of(members), data[8 + length :])


def _change_tensor(draw: st.DrawFn, text: str) -> str:
    members = dict(members_of(text))
    member = draw(st.sampled_from(['"dtype"', '"shape"', '"data_offsets"', '"more"']))
    if member == '"dtype"':
        members[member] = json.dumps(draw(st.sampled_from(_DTYPES)))
    elif member == '"more"':
        members[member] = "1"
    else:
        members[member] = draw(st.one_of(_lists(members.get(member, "[]")), _moved(members.get(member, "[]"))))
    return object_of(list(members.items()))


def _lists(text: str) -> st.SearchStrategy[str]:
    size = st.one_of(st.sampled_from(_SIZES), st.sampled_from(_HUGE_SIZES))
    lengths = st.sampled_from([0, 1, 2, 2, 2, 3, 64, 65])
    return lengths.flatmap(lambda n: st.lists(size, min_size=n, max_size=n)).map(lambda items: f"[{','.join(items)}]")


def _moved(text: str) -> st.SearchStrategy[str]:
    """Change one number of a list by a little: tensors that overlap, or leave gaps."""
    try:
        numbers = [int(item) for item in json.loads(text)]
    except (ValueError, TypeError, OverflowError):
        numbers = [0]
    changes = st.tuples(st.integers(0, max(len(numbers) - 1, 0)), st.integers(-8, 8))
    return changes.map(lambda c: json.dumps([n + c[1] if at == c[0] else n for at, n in enumerate(numbers)]))


def _change_metadata(draw: st.DrawFn, text: str) -> str:
    members = dict(members_of(text))
    name = draw(st.sampled_from([*members, *members, *members, '"num_examples"', '"metrics"', '"partial"', '"more"']))
    if name == '"partial"':
        members[name] = json.dumps(_change_partial(draw, members.get(name, '"{}"')))
    elif name == '"num_examples"':
        members[name] = json.dumps(draw(st.sampled_from(_COUNTS)))
    elif name == '"metrics"':
        members[name] = json.dumps(draw(st.sampled_from(_METRICS)))
    else:
        members[name] = draw(st.sampled_from(["1", "null", "{}", '""', '"\\udfff"', '"' + "x" * 70_000 + '"']))
    return object_of(list(members.items()))


def _change_partial(draw: st.DrawFn, text: str) -> str:
    inner: Any = json.loads(text)
    members = members_of(inner) if isinstance(inner, str) else []
    if not members:
        return "{}"
    at = draw(st.integers(0, len(members) - 1))
    name = members[at][0]
    changed = st.sampled_from(
        ["0", "1", "-1", "1.0", "true", "null", '"1"', "[]", "{}", "9" * 5000, str(1 << 63), "[[]]"]
    )
    change = draw(st.sampled_from(["value", "twice", "drop", "contributor", "contributor", "text"]))
    if change == "value":
        members[at] = name, draw(changed)
    elif change == "twice":
        members.append(members[at])
    elif change == "drop":
        del members[at]
    elif change == "contributor":
        members = [(n, _change_contributors(draw, v) if n == '"contributors"' else v) for n, v in members]
    else:
        whole = object_of(members)
        cut = draw(st.integers(0, len(whole)))
        return whole[:cut] + draw(st.sampled_from(["", "0", "[", '"', ",", "é", "\\ud800"])) + whole[cut + 1 :]
    return object_of(members)


def _change_contributors(draw: st.DrawFn, text: str) -> str:
    listed = json.loads(text)
    if not (isinstance(listed, list) and listed and all(isinstance(item, dict) for item in listed)):
        return text
    at = draw(st.integers(0, len(listed) - 1))
    if draw(st.booleans()):
        return json.dumps([*listed, listed[at]])
    member = draw(st.sampled_from(["client_id", "num_examples", "sha256", "metrics", "more"]))
    value: Any = draw(
        st.sampled_from([0, 1, -1, 1.5, True, None, "", "../a", "a" * 200, "0" * 64, [], {"loss": 1}, 1 << 62])
    )
    return json.dumps([{**item, member: value} if number == at else item for number, item in enumerate(listed)])


def _change_length(draw: st.DrawFn, data: bytes) -> bytes:
    exact = header_length(data)
    lengths = [0, 1, exact - 1, exact + 1, len(data), 1 << 24, (1 << 24) + 1, 1 << 32, 1 << 63, (1 << 64) - 1]
    return struct.pack("<Q", max(0, draw(st.sampled_from(lengths)))) + data[8:]


def _change_data(draw: st.DrawFn, data: bytes) -> bytes:
    """Put numbers that no sum takes among the tensors."""
    start = min(8 + header_length(data), len(data))
    at = draw(st.integers(start, len(data)))
    number = draw(st.one_of(st.sampled_from(_FLOATS), st.binary(min_size=1, max_size=8)))
    return (data[:at] + number + data[at + len(number) :])[: len(data)]


def _change_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Flip, cut, insert or repeat, anywhere."""
    at = draw(st.integers(0, len(data)))
    other = draw(st.integers(at, len(data)))
    change = draw(st.sampled_from(["flip", "cut", "end", "insert", "repeat"]))
    if change == "flip" and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
    if change == "cut":
        return data[:at] + data[other:]
    if change == "end":
        return data[:at]
    if change == "insert":
        return data[:at] + draw(st.binary(max_size=16)) + data[at:]
    return data + data[at:other]


MUTATIONS: Final[Sequence[Mutation]] = (
    _change_text,
    *(_change_members, _change_members, _change_members),
    _change_length,
    *(_change_data, _change_data),
    _change_bytes,
)
"""Those that get deepest are drawn most often."""
