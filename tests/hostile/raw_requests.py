"""Hypothesis strategies for uploads whose heads are not what they should be."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from hypothesis import strategies as st


@dataclass(frozen=True)
class RawRequest:
    """A request as it is written: its line, header lines, a body, and what follows on the connection.

    Parameters
    ----------
    line : bytes
    fields : tuple of bytes
    body : bytes
        As it should arrive.
    framed : bytes or None
        As it is sent; None is as it is.
    rest : bytes
    cut : int or None
        So many bytes are sent; None is all.
    """

    line: bytes
    fields: tuple[bytes, ...]
    body: bytes
    framed: bytes | None = None
    rest: bytes = b""
    cut: int | None = None

    def to_bytes(self) -> bytes:
        body = self.body if self.framed is None else self.framed
        sent = b"\r\n".join([self.line, *self.fields, b"", b""]) + body + self.rest
        return sent if self.cut is None else sent[: self.cut]


Change: TypeAlias = Callable[[st.DrawFn, RawRequest], RawRequest]


def upload(path: str, body: bytes) -> RawRequest:
    """Return an upload that is as it should be."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    fields = ("Host: test", "Content-Type: application/octet-stream", f"Content-Length: {len(body)}")
    more = (f"Content-Digest: sha-256=:{digest}:", "Connection: close")
    return RawRequest(f"PUT {path} HTTP/1.1".encode(), tuple(field.encode() for field in (*fields, *more)), body)


@st.composite
def broken(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    """Draw a request that is changed once or twice."""
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        request = draw(st.sampled_from(CHANGES))(draw, request)
    return request


def _field(request: RawRequest, name: bytes, *lines: bytes) -> RawRequest:
    """Put lines in place of a header."""
    kept = tuple(field for field in request.fields if not field.lower().startswith(name.lower() + b":"))
    return replace(request, fields=kept + lines)


def _length(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    size = len(request.body)
    near = [size - 1, size + 1, size // 2, size + 10_000_000, 0]
    values = [
        *(str(max(0, value)).encode() for value in near),
        *(b"", b"-1", b"+5", b"5 5", b"0x10", b"1e3", b"1.0", b"\xd9\xa3", b"9" * 15, b"9" * 16, b"9" * 5000),
        *(b"5, 5", b"5, 6", b"00000000000000000005", b"5;", b"NaN"),
    ]
    value = draw(st.sampled_from(values))
    lines = draw(st.sampled_from([[value], [value], [str(size).encode(), value], [str(size).encode()] * 2, []]))
    return _field(request, b"Content-Length", *(b"Content-Length: " + line for line in lines))


def _coding(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    codings = [b"chunked", b"Chunked", b"chunked, chunked", b"gzip, chunked", b"identity", b"gzip", b"x", b"", b"\x0b"]
    line = b"Transfer-Encoding: " + draw(st.sampled_from(codings))
    size = f"{len(request.body):x}".encode()
    framings = [
        size + b"\r\n" + request.body + b"\r\n0\r\n\r\n",
        size + b"\r\n" + request.body + b"\r\n0\r\nX: y\r\n\r\n",
        size + b";a=b\r\n" + request.body + b"\r\n0\r\n\r\n",
        size + b"\r\n" + request.body,
        b"-1\r\n" + request.body,
        b"f" * 40 + b"\r\n" + request.body,
        b"0\r\n\r\n",
    ]
    request = replace(request, framed=draw(st.sampled_from(framings)))
    if draw(st.booleans()):
        request = _field(request, b"Content-Length")
    return _field(request, b"Transfer-Encoding", line)


def _digest(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    zeros = base64.b64encode(bytes(32))
    values = [
        *(b"sha-256=:" + zeros + b":", b"sha-256=::", b"sha-256=:AAAA:", b"sha-256=:====:", b"sha-256", b"", b","),
        *(b"sha-512=:" + zeros + b":", b"sha-256=:" + zeros + b":, sha-256=:" + zeros + b":", b"sha-256=" + zeros),
        *(b"SHA-256=:" + zeros + b":", b"a=:" + b"A" * 6000 + b":", b"=:" * 3000, b"\xff\xfe", b"sha-256=:\xc3\xa9:"),
    ]
    return _field(request, b"Content-Digest", b"Content-Digest: " + draw(st.sampled_from(values)))


def _type(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    good = b"application/octet-stream; charset=utf-8"
    values = [good, b"", b"text/plain", b";", b"\xff", b"x" * 5000, b"multipart/form-data"]
    return _field(request, b"Content-Type", b"Content-Type: " + draw(st.sampled_from(values)))


def _more(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    lines = [
        *(b"Expect: 100-continue", b"Expect: a-miracle", b"Upgrade: h2c", b"Connection: keep-alive", b"Connection: x"),
        *(b"No colon", b": no name", b"Na me: x", b"Name : x", b"A_B: x", b"Content_Length: 5", b"X: a\0b", b"X: a\rb"),
        *(b"X: \xff\xfe", b"X: " + b"v" * 9000, b"X: " + b"v" * 100_000, b" folded: x", b"Host: other", b"Host: a b"),
        *(b"X-Forwarded-For: ::", b"X-Forwarded-Proto: https", b"X-HTTP-Method-Override: DELETE", b"Range: bytes=0-1"),
        *(b"Authorization: Bearer x", b"Authorization: Basic \xff", b"Cookie: " + b"a=b; " * 900, b"Trailer: Host"),
        *(b"Fedtier-Refused: round-over=9999999999", b"If-None-Match: *", b"Content-Encoding: gzip", b"TE: trailers"),
    ]
    line = draw(st.sampled_from(lines))
    return replace(request, fields=(*request.fields, *[line] * draw(st.sampled_from([1, 1, 1, 2, 200]))))


def _line(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    method, _, rest = request.line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    methods = [method, b"put", b"PUTT", b"PU T", b"", b"\xff", b"M" * 300]
    targets = [
        *(target, b"http://other" + target, target + b"?a=b", target + b"#a", target + b"/", b"/" + target, b"*", b"/"),
        *(target.replace(b"/rounds", b"//rounds"), target + b"%00", target + b"/%2e%2e/x", target + b"%2f"),
        *(target + b"%", target + b"\xff", target + b"x" * 9000, b"a", b""),
        *(b"/v1/rounds/1/updates/%E2%98%83", b"/v1/rounds/0001/updates/a", b"/v1/rounds/-1/updates/a"),
    ]
    versions = [version, b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"HTTP/11", b"http/1.1", b""]
    chosen = draw(st.sampled_from(methods)), draw(st.sampled_from(targets)), draw(st.sampled_from(versions))
    return replace(request, line=b" ".join(chosen))


def _rest(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    """Let something follow on the connection, which stays open for it."""
    again = replace(request, rest=b"").to_bytes()
    rests = [
        b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
        again,
        b"\r\n\r\n",
        b"\0" * 50,
        b"GET",
        b"GET / HTTP/1.1\r\n",
        b"x" * 9000,
    ]
    return _field(replace(request, rest=draw(st.sampled_from(rests))), b"Connection")


def _cut(draw: st.DrawFn, request: RawRequest) -> RawRequest:
    return replace(request, cut=draw(st.integers(0, len(request.to_bytes()))))


CHANGES: Final[Sequence[Change]] = (_length, _length, _coding, _digest, _type, _more, _more, _line, _rest, _cut)
