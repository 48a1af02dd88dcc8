"""Fetch one file over HTTP, no larger than allowed and within a time limit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from core_torch.spec.errors import DataFormatError
from core_torch.spec.extras import check_installed

TIMEOUT_SECONDS = 20  # without a byte
DEADLINE_SECONDS = 3600  # for a whole file; the largest, of half a GiB, then needs 150 kB a second
PART_BYTES = 1 << 16  # at most, of one read


@contextmanager
def fetch(url: str, *, largest: int) -> Iterator[Iterator[bytes]]:
    """Ask for the file at an address, and give its content part by part.

    Args:
        largest: in bytes; a larger file is an error.

    Raises:
        ConfigError: the library that fetches is not installed.
        DataFormatError: the server cannot be reached, answers with an error, breaks off, sends more than `largest`
            bytes, or has not sent everything within `DEADLINE_SECONDS`.
    """
    check_installed("requests")
    import requests
    from urllib3.exceptions import HTTPError

    ends = time.monotonic() + DEADLINE_SECONDS
    try:
        with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if not response.ok:
                raise DataFormatError(f"{url}: the server answers {response.status_code} {response.reason}")
            parts = iter(lambda: response.raw.read1(PART_BYTES, decode_content=False), b"")
            yield limit(parts, url=url, largest=largest, ends=ends)
    except (requests.RequestException, HTTPError) as error:
        cause: BaseException = error  # each library wraps the other's error: the refused connection inside them says it
        while isinstance(cause, requests.RequestException | HTTPError) and cause.__context__ is not None:
            cause = cause.__context__
        raise DataFormatError(f"{url}: {cause}") from error


def limit(parts: Iterator[bytes], *, url: str, largest: int, ends: float) -> Iterator[bytes]:
    """Pass the parts on until they are too many or too late."""
    size = 0
    for part in parts:
        size += len(part)
        if size > largest:
            raise DataFormatError(f"{url}: found more than {largest:,} bytes, allowed: {largest:,}")
        if time.monotonic() > ends:
            raise DataFormatError(f"{url}: found {size:,} bytes after {DEADLINE_SECONDS:,} s, allowed: the whole file")
        yield part
